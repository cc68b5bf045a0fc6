"""How many rows are at the engines at once: enough to keep them full, not so many that others find no place."""

import asyncio
from collections import deque


class Window:
    """Places are given in the order in which they are asked for, so that of two batches neither starves."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, places: int) -> int:
        """Waits for `places` (at most all of them); the number to give back."""
        places = min(places, self.size)
        if not self._waiting and self._free >= places:
            self._free -= places
            return places
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((places, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._next()
            else:  # granted in the same moment
                self.leave(places)
            raise
        return places

    def leave(self, places: int) -> None:
        self._free += places
        self._next()

    def _next(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._free >= self._waiting[0][0]):
            places, granted = self._waiting.popleft()
            if not granted.done():
                self._free -= places
                granted.set_result(None)
