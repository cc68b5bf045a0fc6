"""Answers that were paid for, kept per project under a digest of all that they depend on.

So an attempt after a crash asks only what is missing, and so does an evaluation of changed documents or probes: what
is asked of the same model, with the same in its context, in the same words, is asked once.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from servicekit.errors import NotFound
from servicekit.failpoints import failpoint
from servicekit.storage import Storage

FORM = "answers/1"  # what an entry holds: entries of another form are not read
Entry = dict[str, Any]


class Answers:
    def __init__(self, storage: Storage, project: str) -> None:
        self._storage = storage
        self._project = project

    async def once(self, depends_on: Any, make: Callable[[], Awaitable[Entry]]) -> Entry:
        """The entry as somebody left it, else made and kept. `depends_on` is JSON."""
        key = self._key(depends_on)
        with suppress(NotFound):
            kept: Entry = json.loads(await self._storage.get(key))
            return kept
        entry = await make()
        await self._storage.put(key, json.dumps(entry, ensure_ascii=False).encode())
        failpoint("evaluator.after_batch")
        return entry

    def _key(self, depends_on: Any) -> str:
        content = json.dumps([FORM, depends_on], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"{self._project}/answers/{digest[:2]}/{digest}.json"
