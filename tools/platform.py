"""Starts and stops a whole platform for a command that needs one: its own data folder, its own processes."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as s:
            s.settimeout(0.5)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on 127.0.0.1:{port} after {timeout_s:.0f} s")


def stop(process: subprocess.Popen, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """SIGTERM, then SIGKILL, to the process's own group and nothing else."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """rclone's S3 server over `folder` on a free loopback port; yields the platform's variables for it."""
    folder.mkdir(parents=True, exist_ok=True)
    port, access, secret = free_port(), "ingrain", secrets.token_hex(16)
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "rclone"),
            "serve",
            "s3",
            str(folder),
            "--addr",
            f"127.0.0.1:{port}",
        ],
        env=os.environ | {"RCLONE_AUTH_KEY": f'"{access},{secret}"'},
        stdout=subprocess.DEVNULL,
        stderr=open(folder.parent / "s3.log", "a"),  # noqa: SIM115 - lives as long as the process
        start_new_session=True,
    )
    try:
        wait_for_port(port, 20)
        yield {
            "INGRAIN_STORAGE": "s3://ingrain",
            "INGRAIN_S3_ENDPOINT": f"127.0.0.1:{port}",
            "INGRAIN_S3_ACCESS_KEY": access,
            "INGRAIN_S3_SECRET_KEY": secret,
            "INGRAIN_S3_SECURE": "false",
        }
    finally:
        stop(process, 10)


@contextmanager
def platform(data_dir: Path, variables: dict[str, str] | None = None) -> Iterator[str]:
    """`python -m services` on `data_dir`; yields the gateway's address once every service is healthy."""
    data_dir.mkdir(parents=True, exist_ok=True)
    state = data_dir / "run" / "platform.json"
    state.unlink(missing_ok=True)
    log = data_dir / "supervisor.log"
    with open(log, "a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services", "--data-dir", str(data_dir)],
            env=os.environ | (variables or {}),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not state.exists():
            if process.poll() is not None:
                raise RuntimeError(
                    f"the platform ended while starting; the last lines of {log}:\n{tail(log)}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"the platform was not ready within {START_TIMEOUT_S:.0f} s:\n{tail(log)}")
            time.sleep(0.2)
        yield json.loads(state.read_text())["gateway"]
    finally:
        stop(process)


def tail(path: Path, line_count: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-line_count:])
