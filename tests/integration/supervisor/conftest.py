"""A platform in processes of its own, started as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.supervisor.kin import kin


class Supervisor:
    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        self.state_file = data_dir / "run" / "platform.json"
        self.output = data_dir.with_suffix(".log")
        command = [sys.executable, "-m", "services", "--data-dir", str(data_dir), "--port", "0", *arguments]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text())

    def pid(self, service: str) -> int:
        return self.state()["services"][service]["pid"]

    def wait_until_ready(self, timeout_s: float = 60.0) -> "Supervisor":
        self.wait(self.state_file.exists, timeout_s)
        return self

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Starts platforms, all on one data folder, and leaves nothing of them behind."""
    started: list[Supervisor] = []

    def start(*arguments: str) -> Supervisor:
        started.append(Supervisor(tmp_path / "platform", *arguments))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.end()
        for pid in kin(supervisor.data_dir):
            os.kill(pid, signal.SIGKILL)
