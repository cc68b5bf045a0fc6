"""Calls that are made again while the other side is full or away."""

import asyncio
import math
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
    """Of calls that belong together: an answer to one of them is a sign of life for all, and ends a silence.

    Silence begins when a call fails, the first one after the last answer. Until then nothing said that anybody is away: neither
    the time that a call works, however long, nor a time without calls is silence. Only a call whose own time ran out
    heard nothing all the while: with it silence began when the call did, or with the last answer where that was later.

    Patience has run out when there was silence for `seconds`, and no call is under way any more that was begun before that
    moment: who says that he is full may be at work at one of them. Calls that are begun later do not put the end off, or
    who never answers would be asked for ever.
    """

    def __init__(self, seconds: float = PATIENCE_S) -> None:
        self._seconds = seconds
        self._answered_s = -math.inf
        self._silent_since_s: float | None = None
        self._under_way: list[float] = []  # when each was begun
        self.ended = False  # set by whoever needs no further answer: nothing is tried again then

    async def ask(
        self, call: Callable[[], Awaitable[T]], passing: "Callable[[Exception], bool] | None" = None
    ) -> T:
        """Waits as long as it is asked to, and ever longer. Raises what would not pass: by default all but what `passes`."""
        passing = passing or passes
        backoff_s = FIRST_WAIT_S
        while True:
            begun_s = time.monotonic()
            try:
                return await self._answer(call, begun_s)
            except Exception as error:
                if not passing(error) or self.ended or self._ran_out(error, begun_s):
                    raise
                asked_s = min(LONGEST_WAIT_S, getattr(error, "retry_after_s", 0.0) or 0.0)
            await asyncio.sleep(max(asked_s, backoff_s * random.uniform(0.5, 1.0)))
            backoff_s = min(2 * backoff_s, LONGEST_WAIT_S)

    async def _answer(self, call: Callable[[], Awaitable[T]], begun_s: float) -> T:
        self._under_way.append(begun_s)
        try:
            answer = await call()
        finally:
            self._under_way.remove(begun_s)
        self._answered_s, self._silent_since_s = time.monotonic(), None
        return answer

    def _ran_out(self, error: Exception, begun_s: float) -> bool:
        """After a call that failed."""
        now_s = time.monotonic()
        if self._silent_since_s is None:
            unheard = isinstance(error, sdk_errors.DeadlineExceeded)
            self._silent_since_s = max(begun_s, self._answered_s) if unheard else now_s
        end_s = self._silent_since_s + self._seconds
        return now_s >= end_s and not any(other_s < end_s for other_s in self._under_way)


def passes(error: Exception) -> bool:
    """Whether it is worth to ask again later."""
    if isinstance(error, Unavailable | sdk_errors.Unavailable | sdk_errors.DeadlineExceeded):
        return True
    return isinstance(error, Exhausted | sdk_errors.Exhausted) and bool(error.retry_after_s)
