"""Calls at once, per project. Each kind of call has places of its own, so that no call waits for one that it was
started by: users' calls, services' calls on behalf of the project, and calls that only wait for what others do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from servicekit.errors import Exhausted
from servicekit.identity import Caller

RETRY_AFTER_S = 1.0


@dataclass(frozen=True)
class Places:
    """For each project. `queue` calls of a kind may wait for a place, each at most `queue_s`."""

    users: int
    nested: int
    waiting: int
    queue: int
    queue_s: float


class Limits:
    def __init__(self, places: Places) -> None:
        self._places = places
        self._lines: dict[tuple[str, str], _Line] = {}

    @contextlib.asynccontextmanager
    async def admit(self, caller: Caller, *, waits: bool = False) -> AsyncIterator[None]:
        """Holds a place for one call. RESOURCE_EXHAUSTED with a time to try again where none comes free."""
        kind = "waiting" if waits else "nested" if caller.kind == "service" else "users"
        line = self._lines.setdefault((caller.project, kind), _Line(getattr(self._places, kind)))
        await self._take(line, caller.project)
        try:
            yield
        finally:
            line.free.release()

    async def _take(self, line: "_Line", project: str) -> None:
        if not line.free.locked():
            await line.free.acquire()  # does not suspend: a place is free
            return
        if line.queued >= self._places.queue:
            raise _too_many(project)
        line.queued += 1
        try:
            async with asyncio.timeout(self._places.queue_s):
                await line.free.acquire()
        except TimeoutError:
            raise _too_many(project) from None
        finally:
            line.queued -= 1


class _Line:
    def __init__(self, places: int) -> None:
        self.free = asyncio.Semaphore(places)
        self.queued = 0


def _too_many(project: str) -> Exhausted:
    whose = "the operator" if project == "*" else project
    return Exhausted(
        "TOO_MANY_CALLS", f"{whose} has too many calls at once; try again later", retry_after_s=RETRY_AFTER_S
    )
