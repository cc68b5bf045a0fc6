"""`ingrain up` and `ingrain down`: the installed platform on this machine."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
_READY_S = 240.0
_STOP_S = 60.0

DataDir = Annotated[
    Path,
    typer.Option(envvar="INGRAIN_DATA_DIR", help="Folder of the platform's data.", show_default="~/.ingrain"),
]


def up(
    context: typer.Context,
    data_dir: DataDir = Path("~/.ingrain"),
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it answers.")] = False,
) -> None:
    """Start the platform on this machine.

    It runs until Ctrl-C, or with --detach until `ingrain down`. Further options go to the platform as they are.
    """
    if not _installed():
        print(
            "Error: the platform is not installed here, only its client.\n"
            "Clone the repository and run `make setup`, or set INGRAIN_TARGET to a platform that runs.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    folder = data_dir.expanduser().absolute()
    command = [sys.executable, "-m", "services", "--data-dir", str(folder), *context.args]
    if not detach:
        os.execv(command[0], command)
    state = _state_file(folder)
    if _running(state):
        print(f"It is running already at {json.loads(state.read_text())['gateway']}.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    state.unlink(missing_ok=True)
    log = folder / "supervisor.log"
    with log.open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    _pid_file(folder).write_text(str(process.pid))
    address = _await_ready(process, state, log)
    print(f"Ingrain answers at {address}. Stop it with: ingrain down")


def down(data_dir: DataDir = Path("~/.ingrain")) -> None:
    """Stop the platform that `ingrain up --detach` started."""
    folder = data_dir.expanduser().absolute()
    pid = _pid(folder)
    if pid is None:
        print(f"Error: no platform of {folder} is running.", file=sys.stderr)
        raise typer.Exit(1)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while _pid(folder) is not None:
        if time.monotonic() > deadline:
            print(f"Error: process {pid} has not ended after {_STOP_S:.0f} s.", file=sys.stderr)
            raise typer.Exit(1)
        time.sleep(0.2)
    _pid_file(folder).unlink(missing_ok=True)
    print("Stopped.")


def _installed() -> bool:
    try:
        return importlib.util.find_spec("services.__main__") is not None
    except ModuleNotFoundError:
        return False


def _state_file(folder: Path) -> Path:
    """Written by the platform once every service is healthy."""
    return folder / "run" / "platform.json"


def _pid_file(folder: Path) -> Path:
    return folder / "supervisor.pid"


def _running(state: Path) -> bool:
    return state.exists() and _pid(state.parent.parent) is not None


def _pid(folder: Path) -> int | None:
    """The process that we started, if it still is that: a number may belong to another process by now."""
    try:
        pid = int(_pid_file(folder).read_text())
        if _ended_child(pid):
            return None
        command = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    except (OSError, ValueError):
        return None
    return pid if "-m services" in command and str(folder) in command else None


def _ended_child(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _await_ready(process: "subprocess.Popen[bytes]", state: Path, log: Path) -> str:
    deadline = time.monotonic() + _READY_S
    while not state.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            print(f"Error: the platform did not start; {log} ends with:\n{last}", file=sys.stderr)
            raise typer.Exit(1)
        time.sleep(0.2)
    return json.loads(state.read_text())["gateway"]
