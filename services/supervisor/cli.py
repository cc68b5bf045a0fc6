"""`python -m services`: run a platform here, or stop one."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from services.supervisor.plan import SERVICES, Options
from services.supervisor.supervise import AlreadyRunning, is_supervisor, supervise

DEFAULT_DATA_DIR = Path.home() / ".ingrain"
STOP_TIMEOUT_S = 90.0


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    data_dir = options.data_dir.expanduser().absolute()
    if options.command == "stop":
        return stop(data_dir)
    chosen = tuple(options.only.split(",")) if options.only else SERVICES
    if unknown := [name for name in chosen if name not in SERVICES]:
        print(f"no such service: {', '.join(unknown)}; there are {', '.join(SERVICES)}", file=sys.stderr)
        return 2
    try:
        supervise(
            Options(
                data_dir=data_dir,
                port=options.port,
                services=chosen,
                storage=options.storage or os.environ.get("INGRAIN_STORAGE", ""),
                import_root=options.import_root,
                with_ray=bool({"trainer", "inference"} & set(chosen)),
            )
        )
    except (AlreadyRunning, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    result.add_argument("command", nargs="?", choices=["run", "stop"], default="run")
    result.add_argument(
        "--data-dir", type=Path, default=DEFAULT_DATA_DIR, help="databases, storage, logs (%(default)s)"
    )
    result.add_argument("--port", type=int, default=7070, help="the gateway's; the next free one if taken")
    result.add_argument(
        "--storage", default="", help="file:///folder or s3://bucket/prefix; default: in the data folder"
    )
    result.add_argument(
        "--import-root", type=Path, help="file:// sources must lie under it; default: the current folder"
    )
    result.add_argument("--only", default="", help="some services, comma-separated")
    return result


def stop(data_dir: Path) -> int:
    lock = data_dir / "run" / "supervisor.pid"
    pid = int(lock.read_text() or 0) if lock.exists() else 0
    if not pid or not is_supervisor(pid):
        print(f"no platform runs on {data_dir}", file=sys.stderr)
        return 1
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_supervisor(pid):
        if time.monotonic() > deadline:
            print(f"process {pid} has not ended within {STOP_TIMEOUT_S:.0f} s", file=sys.stderr)
            return 1
        time.sleep(0.2)
    print(f"the platform on {data_dir} has stopped")
    return 0
