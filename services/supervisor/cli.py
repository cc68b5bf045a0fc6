"""`python -m services`: run a platform here, or stop one."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from services.supervisor.lock import holder
from services.supervisor.plan import SERVICES, Options
from services.supervisor.supervise import supervise

DEFAULT_DATA_DIR = Path.home() / ".ingrain"
STOP_TIMEOUT_S = 90.0


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    data_dir = options.data_dir.expanduser().resolve()
    if options.command == "stop":
        return stop(data_dir)
    if unknown := [name for name in (*options.only, *options.without) if name not in SERVICES]:
        print(f"no such service: {', '.join(unknown)}; there are {', '.join(SERVICES)}", file=sys.stderr)
        return 2
    chosen = tuple(name for name in options.only or SERVICES if name not in options.without)
    try:
        supervise(
            Options(
                data_dir=data_dir,
                port=options.port,
                http_port=options.http_port,
                services=chosen,
                storage=options.storage or os.environ.get("INGRAIN_STORAGE", ""),
                import_root=options.import_root.expanduser().resolve() if options.import_root else None,
                with_ray=bool({"trainer", "inference"} & set(chosen)),
            )
        )
    except RuntimeError as error:
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
        "--http-port", type=int, default=7080, help="for OpenAI-style HTTP; any free one if taken"
    )
    result.add_argument(
        "--storage", default="", help="file:///folder or s3://bucket/prefix; default: in the data folder"
    )
    result.add_argument(
        "--import-root", type=Path, help="file:// sources must lie under it; default: the current folder"
    )
    result.add_argument("--only", type=names, default=(), help="these services, comma-separated")
    result.add_argument("--without", type=names, default=(), help="all services but these, comma-separated")
    return result


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def stop(data_dir: Path) -> int:
    pid = holder(data_dir)
    if not pid:
        print(f"no platform runs on {data_dir}", file=sys.stderr)
        return 1
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while holder(data_dir) == pid:
        if time.monotonic() > deadline:
            print(f"process {pid} has not ended within {STOP_TIMEOUT_S:.0f} s", file=sys.stderr)
            return 1
        time.sleep(0.2)
    print(f"the platform on {data_dir} has stopped")
    return 0
