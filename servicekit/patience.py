"""Calls that are made again while the other side is full or away."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ingrain import errors as sdk_errors
from servicekit.errors import Exhausted, Unavailable

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
PATIENCE_S = 600.0
T = TypeVar("T")


class Patience:
    """Of calls that belong together: an answer to one of them is a sign of life for all."""

    def __init__(self, seconds: float = PATIENCE_S) -> None:
        """`seconds`: how long nobody may be answered before what is wrong is raised."""
        self._seconds = seconds
        self._answered_s = time.monotonic()
        self.ended = False  # set by whoever needs no further answer: nothing is tried again then

    async def ask(
        self, call: Callable[[], Awaitable[T]], passing: "Callable[[Exception], bool] | None" = None
    ) -> T:
        """Waits as long as it is asked to, and ever longer. Raises what would not pass: by default all but what `passes`."""
        passing = passing or passes
        backoff_s = FIRST_WAIT_S
        while True:
            try:
                answer = await call()
            except Exception as error:
                silent_s = time.monotonic() - self._answered_s
                if not passing(error) or self.ended or silent_s > self._seconds:
                    raise
                asked_s = min(LONGEST_WAIT_S, getattr(error, "retry_after_s", 0.0) or 0.0)
                await asyncio.sleep(max(asked_s, backoff_s * random.uniform(0.5, 1.0)))
                backoff_s = min(2 * backoff_s, LONGEST_WAIT_S)
                continue
            self._answered_s = time.monotonic()
            return answer


def passes(error: Exception) -> bool:
    """Whether it is worth to ask again later."""
    if isinstance(error, Unavailable | sdk_errors.Unavailable | sdk_errors.DeadlineExceeded):
        return True
    return isinstance(error, Exhausted | sdk_errors.Exhausted) and bool(error.retry_after_s)
