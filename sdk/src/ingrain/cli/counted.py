"""What an upload or import did, as a dataset's `counts` tell it: what was read, what was skipped and why."""

from collections.abc import Iterator
from typing import Any

_SKIPPED = "skipped"
_MOST_LINES = 20


def read(dataset: Any) -> str:
    """A line for each kind of file, largest first."""
    counts = {what: n for what, n in dataset.counts.items() if not what.startswith(_SKIPPED)}
    return "\n".join(f"{n:,} {what}" for what, n in sorted(counts.items(), key=lambda item: -item[1]))


def skipped(dataset: Any) -> str:
    """A line for each reason, with the names of the files that it holds for."""
    lines = list(_reasons(dataset.counts))
    more = len(lines) - _MOST_LINES
    return "\n".join(lines[:_MOST_LINES] + ([f"and {more} more: -o json"] if more > 0 else []))


def _reasons(counts: Any) -> Iterator[str]:
    for what, n in sorted(counts.items()):
        if not what.startswith(_SKIPPED):
            continue
        reason, _, name = what.removeprefix(_SKIPPED).strip().partition(": ")
        if not name:
            yield f"{n:,} {reason}"
        elif n == 1:
            yield f"{name}: {reason}"
        else:
            yield f"{n:,} {name}: {reason}"
