"""`ingrain up` and `ingrain down`: the installed platform on this machine."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
DEFAULT_DATA_DIR = Path("~/.ingrain")
_READY_S = 240.0

DataDir = Annotated[Path, typer.Option(envvar="INGRAIN_DATA_DIR", help="Folder of the platform's data.")]


def up(
    context: typer.Context,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it answers.")] = False,
) -> None:
    """Start the platform on this machine.

    It runs until Ctrl-C, or with --detach until `ingrain down`. Further options
    (--port, --storage, --import-root) go to the platform as they are.
    """
    folder = data_dir.expanduser().absolute()
    command = [*_platform_command(), "--data-dir", str(folder), *context.args]
    if not detach:
        os.execv(command[0], command)
    if address := gateway_of(folder):
        print(f"Ingrain answers at {address} already.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "supervisor.log"
    with log.open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    deadline = time.monotonic() + _READY_S
    while not (address := gateway_of(folder)):
        if process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            print(f"Error: the platform did not start; {log} ends with:\n{last}", file=sys.stderr)
            raise typer.Exit(1)
        time.sleep(0.2)
    print(f"Ingrain answers at {address}. Stop it with: ingrain down")


def down(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop the platform on this machine."""
    folder = data_dir.expanduser().absolute()
    done = subprocess.run([*_platform_command(), "stop", "--data-dir", str(folder)], check=False)
    raise typer.Exit(done.returncode)


def gateway_of(data_dir: Path) -> str:
    """Address of the platform that runs on this data folder; empty where none does."""
    try:
        state = json.loads((data_dir.expanduser() / "run" / "platform.json").read_text())
        os.kill(state["supervisor"], 0)  # only asks whether the process is there
        return state["gateway"]
    except (OSError, ValueError, KeyError):
        return ""


def _platform_command() -> list[str]:
    try:
        installed = importlib.util.find_spec("services.__main__") is not None
    except ModuleNotFoundError:
        installed = False
    if not installed:
        print(
            "Error: the platform is not installed here, only its client.\n"
            "Clone the repository and run `make setup`, or set INGRAIN_TARGET to a platform that runs.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    return [sys.executable, "-m", "services"]
