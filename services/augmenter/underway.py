"""Prompts that are asked at this moment in this process: whoever wants the same waits for them instead of asking too."""

import asyncio
from collections.abc import Iterable


class UnderWay:
    """Each prompt by its project and digest."""

    def __init__(self) -> None:
        self._ended: dict[tuple[str, str], asyncio.Future[None]] = {}

    def claim(self, project: str, digests: Iterable[str]) -> tuple[list[str], list[asyncio.Future[None]]]:
        """Those that are the caller's to ask, until it releases them; of the others, what to wait for."""
        mine, theirs = [], []
        for digest in digests:
            if waiting := self._ended.get((project, digest)):
                theirs.append(waiting)
            else:
                self._ended[project, digest] = asyncio.get_running_loop().create_future()
                mine.append(digest)
        return mine, theirs

    def release(self, project: str, digests: Iterable[str]) -> None:
        """Kept by now, or given up; such as were released before are passed over."""
        for digest in digests:
            if ended := self._ended.pop((project, digest), None):
                ended.set_result(None)
