"""Processes that die, are killed, are started twice; and nothing left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from services.supervisor.kin import kin
from services.supervisor.plan import Child
from services.supervisor.process import MOST_QUICK_DEATHS, Process

Start = Callable[..., Any]
LIGHT = ("--only", "gateway,augmenter")
ROWS = [{"id": "a", "text": "bonik are brighter than trafem."}]
pytestmark = pytest.mark.timeout(180)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_service_is_started_again_and_calls_go_on(start: Start) -> None:
    platform = start(*LIGHT).wait_until_ready()
    async with AsyncClient(platform.state()["gateway"], timeout_s=30) as client:
        made = await client.datasets.upload(ROWS, id="kept")
        for service in ("augmenter", "gateway"):
            killed = platform.pid(service)
            os.kill(killed, signal.SIGKILL)
            platform.wait(lambda service=service, killed=killed: platform.pid(service) != killed)
            assert (await get_when_back(client)).sha256 == made.sha256
    assert "augmenter was started again" in platform.output.read_text()


async def get_when_back(client: AsyncClient) -> Any:
    """The SDK tries again for a second or two; a process that starts on a busy machine needs longer."""
    async with asyncio.timeout(45):
        while True:
            try:
                return await client.datasets.get("kept")
            except errors.Unavailable:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_platform_leaves_no_process(start: Start, number: int) -> None:
    platform = start(*LIGHT).wait_until_ready()
    pids = [service["pid"] for service in platform.state()["services"].values()]
    groups = [os.getpgid(pid) for pid in pids]
    assert sorted(kin(platform.data_dir)) == sorted(pids)
    assert groups == pids  # each its own group, apart from the supervisor's
    assert platform.end(number) == 0
    assert kin(platform.data_dir) == []
    for group in groups:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)
    assert not platform.state_file.exists()


def test_it_can_be_stopped_while_it_starts(start: Start) -> None:
    platform = start(*LIGHT)
    platform.wait(lambda: bool(kin(platform.data_dir)))
    assert platform.end() == 0
    assert kin(platform.data_dir) == []
    assert not platform.state_file.exists()


def test_one_data_folder_has_one_platform(start: Start) -> None:
    platform = start(*LIGHT).wait_until_ready()
    second = start(*LIGHT)
    assert second.process.wait(60) == 1
    assert (
        f"runs on {platform.data_dir} already (process {platform.process.pid})" in second.output.read_text()
    )
    assert platform.state_file.exists()
    stop = [sys.executable, "-m", "services", "stop", "--data-dir", str(platform.data_dir)]
    stopped = subprocess.run(stop, capture_output=True, text=True, timeout=60)
    assert (stopped.returncode, "has stopped" in stopped.stdout) == (0, True)
    assert platform.process.wait(10) == 0
    assert subprocess.run(stop, capture_output=True, timeout=60).returncode == 1


def test_what_a_killed_supervisor_left_is_ended_by_the_next(start: Start) -> None:
    first = start(*LIGHT).wait_until_ready()
    orphans = kin(first.data_dir)
    first.process.kill()
    first.process.wait()
    assert sorted(kin(first.data_dir)) == sorted(orphans)  # they do not end by themselves
    second = start(*LIGHT)
    second.wait(lambda: not any(alive(pid) for pid in orphans))
    second.wait_until_ready()
    assert len(kin(first.data_dir)) == 2


def test_logs_and_state_hold_no_token(start: Start) -> None:
    platform = start(*LIGHT).wait_until_ready()
    environment = Path(f"/proc/{platform.pid('gateway')}/environ").read_bytes().split(b"\0")
    tokens = [
        entry.partition(b"=")[2] for entry in environment if entry.partition(b"=")[0].endswith(b"_TOKEN")
    ]
    assert len(tokens) == 3
    platform.end()
    for file in [platform.output, *platform.data_dir.rglob("*")]:
        if file.is_file():
            content = file.read_bytes()
            assert not any(token in content for token in tokens), file


def test_a_service_that_dies_at_once_again_and_again_is_given_up(tmp_path: Path) -> None:
    process = Process(Child("broken", (sys.executable, "-c", "raise SystemExit(3)"), {}), tmp_path)
    process.start()
    starts = 1
    deadline = time.monotonic() + 60
    with pytest.raises(RuntimeError, match=r"broken died .* its log is .*broken\.log"):  # noqa: PT012
        while time.monotonic() < deadline:
            starts += process.restart_if_dead()
            time.sleep(0.02)
    assert starts == MOST_QUICK_DEATHS


def test_what_a_dead_service_started_is_ended_before_it_is_started_again(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    process = Process(Child("parent", (sys.executable, "-c", script), {}), tmp_path)
    process.start()
    try:
        while not (text := process.log.read_text()).endswith("\n"):
            time.sleep(0.02)
        grandchild = int(text)
        os.kill(process.pid, signal.SIGKILL)
        while not process.restart_if_dead():
            time.sleep(0.02)
        assert not running(grandchild)
    finally:
        process.stop(5.0)


def running(pid: int) -> bool:
    """Whether it does anything: a zombie whose parent is gone does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    process = Process(Child("deaf", (sys.executable, "-c", script), {}), tmp_path)
    process.start()
    while not process.log.read_text():
        time.sleep(0.02)
    started = time.monotonic()
    process.stop(0.3)
    assert not process.running
    assert time.monotonic() - started < 5
