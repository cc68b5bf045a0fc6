"""The processes of one platform, known by a variable that they inherit.

Process groups do not hold them all: Ray gives its workers and jobs groups of their own, and a supervisor that was
killed leaves its children behind.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

POLL_S = 0.1


def mark(data_dir: Path) -> dict[str, str]:
    return {"INGRAIN_PLATFORM": str(data_dir)}


def kin(data_dir: Path) -> list[int]:
    """Ids of the processes that carry the mark; none on systems without /proc."""
    wanted = {f"{name}={value}".encode() for name, value in mark(data_dir).items()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def end_kin(data_dir: Path, grace_s: float) -> None:
    """SIGTERM, and SIGKILL to what is still there after `grace_s`."""
    signal_all(kin(data_dir), signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while (left := kin(data_dir)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    signal_all(left, signal.SIGKILL)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
