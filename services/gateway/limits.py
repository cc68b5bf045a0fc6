"""Calls at once, per project. Nested calls (services on behalf of a project) have a pool of their own, so that no
call waits for one that it was started by."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from servicekit.errors import Exhausted
from servicekit.identity import Caller


class Limits:
    def __init__(self, project_concurrency: int, nested_concurrency: int, queue_s: float) -> None:
        self._queue_s = queue_s
        self._users: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(project_concurrency)
        )
        self._nested: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(nested_concurrency)
        )

    @contextlib.asynccontextmanager
    async def admit(self, caller: Caller) -> AsyncIterator[None]:
        """Waits for a place at most `queue_s`; then RESOURCE_EXHAUSTED with a time to try again."""
        pool = (self._nested if caller.kind == "service" else self._users)[caller.project]
        try:
            await asyncio.wait_for(pool.acquire(), self._queue_s)
        except TimeoutError:
            raise Exhausted(
                "TOO_MANY_CALLS",
                f"{caller.project} has too many calls at once; try again later",
                retry_after_s=1.0,
            ) from None
        try:
            yield
        finally:
            pool.release()
