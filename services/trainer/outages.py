"""Object storage that is away for a while: asked again until it is back, so that a minute of it does not cost hours of training."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from servicekit.errors import Exhausted

T = TypeVar("T")
# A storage that cannot be reached, refuses for load or is full; a folder that is not mounted, or may not be written just now.
OUTAGES = (Exhausted, OSError)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


def is_outage(error: BaseException) -> bool:
    """Whether it says that storage is away, rather than anything else that may be tried again."""
    return isinstance(error, OSError) or (
        isinstance(error, Exhausted) and error.reason.startswith("STORAGE_")
    )


async def through_outages(action: Callable[[], Awaitable[T]], gives_up: Callable[[], bool]) -> T:
    """What `action` gives. While storage fails it is done again from its beginning; its error is raised once `gives_up()`."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await action()
        except OUTAGES:
            if gives_up():
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def within(wait_s: float, action: Callable[[], Awaitable[T]]) -> T:
    """The same, for an outage of `wait_s` seconds at most."""
    deadline = time.monotonic() + wait_s
    return await through_outages(action, lambda: time.monotonic() > deadline)
