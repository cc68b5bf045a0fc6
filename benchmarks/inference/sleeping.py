"""A replica that waits instead of computing."""

import asyncio
from typing import Any

from ray import serve


@serve.deployment(name="engine")
class Sleeping:
    def __init__(self, seconds: float, digest: str) -> None:
        self._seconds, self._digest = seconds, digest

    async def score(self, call: Any) -> Any:
        from services.inference.wire import Scored, Spent

        await asyncio.sleep(self._seconds)
        return Scored([[(-1.0, 1) for _ in choices] for _, choices in call.items], Spent())

    async def digest(self) -> str:
        return self._digest
