"""Finished batches as objects, so that an attempt after a crash generates nothing twice."""

import json
from typing import Any

from servicekit.errors import NotFound
from servicekit.storage import Storage


class Journal:
    """Keyed by what was asked, not by who asked: `fingerprint` covers inputs and settings."""

    def __init__(self, storage: Storage, target: str, fingerprint: str) -> None:
        self._storage = storage
        self._prefix = f"{target}/journal-{fingerprint[:24]}"

    async def read(self, batch: int) -> Any:
        """The batch as it was written, or None."""
        try:
            return json.loads(await self._storage.get(self._key(batch)))
        except NotFound:
            return None

    async def write(self, batch: int, content: Any) -> None:
        await self._storage.put(self._key(batch), json.dumps(content, ensure_ascii=False).encode())

    def _key(self, batch: int) -> str:
        return f"{self._prefix}/{batch:06d}.json"
