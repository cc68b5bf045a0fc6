"""How a command ends: with which code, at a signal, and with which words for a pod's status.

| code | meaning | trying again |
| --- | --- | --- |
| 0 | done | |
| 1 | the request is wrong or refused | would end the same |
| 2 | wrong usage | would end the same |
| 3 | not found | would end the same |
| 4 | the operation failed, by what it was given, or was cancelled | would end the same |
| 5 | the platform cannot be reached | helps |
| 6 | measured, and below what `--fail-below` asks for | would end the same |
| 75 | the platform's own fault, or it has no room now | helps |
| 130, 143 | left at Ctrl-C or SIGTERM; the work goes on unless `--cancel-on-exit` | finds it again |
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ingrain import errors

FAILED, USAGE, NOT_FOUND, OPERATION_FAILED, UNREACHABLE, BELOW = 1, 2, 3, 4, 5, 6
TEMPORARY = 75
INTERRUPTED, TERMINATED = 130, 143
VERDICT_VARIABLE = "INGRAIN_TERMINATION_LOG"
VERDICT_FILE = "/dev/termination-log"  # Kubernetes shows what a container wrote there
MOST_VERDICT_BYTES = 4000  # it shows 4,096

_PLATFORMS = (errors.Internal, errors.Busy, errors.DeadlineExceeded)


class Terminated(BaseException):
    """SIGTERM. Nothing but the command's end may take it for an error."""


def exit_code(error: errors.IngrainError) -> int:
    if is_platforms(error):
        return UNREACHABLE if isinstance(error, errors.Unavailable) else TEMPORARY
    if isinstance(error, errors.OperationFailed):
        return OPERATION_FAILED
    return NOT_FOUND if isinstance(error, errors.NotFound) else FAILED


def is_platforms(error: errors.IngrainError) -> bool:
    """Whether the same may succeed another time."""
    if isinstance(error, errors.OperationFailed):
        cause = error.cause
        return isinstance(cause, errors.Unavailable) or is_platforms(cause)
    if isinstance(error, errors.Exhausted):
        return error.retry_after_s is not None
    return isinstance(error, (errors.Unavailable, *_PLATFORMS))


@contextmanager
def at_signals() -> Iterator[None]:
    """SIGTERM raises Terminated, once. A process that is a container's first would not end by it otherwise."""

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # while it says how to come back
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tell(status: str, code: int, **more: Any) -> None:
    """Writes the verdict where the pod's status is read from, if that is there and may be written."""
    path = Path(os.environ.get(VERDICT_VARIABLE) or VERDICT_FILE)
    told = {"status": status, "exit_code": code, **{name: value for name, value in more.items() if value}}
    try:
        if path.exists() and os.access(path, os.W_OK):
            path.write_text(bounded(told) + "\n", encoding="utf-8")
    except OSError:
        print(f"The verdict could not be written to {path}.", file=sys.stderr)


def bounded(told: dict[str, Any]) -> str:
    """JSON of at most MOST_VERDICT_BYTES: what is long is cut, all to the same length, as far as that takes."""
    for shift in range(MOST_VERDICT_BYTES.bit_length() - 4):  # to 4,000 characters, 2,000 ... 15
        cut = {name: _cut(value, MOST_VERDICT_BYTES >> shift) for name, value in told.items()}
        # A name of a file that is no UTF-8 stands in a text as half a surrogate.
        line = json.dumps(cut, ensure_ascii=False).encode(errors="backslashreplace")
        if len(line) <= MOST_VERDICT_BYTES:
            return line.decode()
    return json.dumps({"status": told["status"], "exit_code": told["exit_code"]})


def _cut(value: Any, most: int) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= most else text[:most] + "…"
