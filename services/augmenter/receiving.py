"""Uploads: JSONL goes to the intake as it comes; a file of another kind waits on disk until it is whole."""

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ingrain.v1 import datasets_pb2 as pb
from servicekit.errors import Exhausted, Invalid
from services.augmenter.formats.endings import READABLE, family_of
from services.augmenter.importing import Reading, bounds_of
from services.augmenter.intake import lines_of
from services.augmenter.rows import Row
from services.augmenter.settings import AugmenterSettings
from services.augmenter.sources import Source

FIELD = "header.file_name"


class Upload:
    """The bytes after a header, which are digested as they come."""

    def __init__(
        self, header: pb.UploadDatasetHeader, requests: AsyncIterator[pb.UploadDatasetRequest]
    ) -> None:
        self.header = header
        self.requests = requests
        self.received = hashlib.sha256()

    async def chunks(self) -> AsyncIterator[bytes]:
        async for request in self.requests:
            if request.WhichOneof("payload") == "header":
                raise Invalid("SECOND_HEADER", "an upload has one header, first", field="header")
            self.received.update(request.chunk)
            yield request.chunk

    def check(self) -> None:
        """Once all has arrived: whether it is what the header says."""
        if self.header.sha256 and self.header.sha256 != self.received.hexdigest():
            raise Invalid(
                "SHA256_MISMATCH",
                "the bytes that arrived are not those of the header's sha256; send again",
                field="header.sha256",
            )

    @asynccontextmanager
    async def rows(
        self, settings: AugmenterSettings, counts: Counter[str], room: asyncio.Semaphore
    ) -> AsyncIterator[AsyncIterator[Row | bytes]]:
        """What the upload holds, by the ending of its file's name. Invalid for a name that nobody reads."""
        name = PurePosixPath(self.header.file_name.replace("\\", "/")).name
        family = family_of(name) if self.header.file_name else "jsonl"
        if family is None:
            raise Invalid(
                "UNKNOWN_FORMAT",
                f"{self.header.file_name!r} is none of {', '.join(READABLE)}; its ending says how it is read",
                field=FIELD,
            )
        if family == "jsonl":
            yield lines_of(self.chunks())
            return
        with tempfile.NamedTemporaryFile("wb", prefix="ingrain-upload-") as file:
            size = await self._spooled(file, settings.upload_bytes)
            self.check()
            source = Source(name, size, file=Path(file.name))
            async with aclosing(Reading(bounds_of(settings), counts, FIELD, room).rows([source])) as rows:
                yield rows

    async def _spooled(self, file: Any, most_bytes: int) -> int:
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > most_bytes:
                raise Exhausted(
                    "UPLOAD_TOO_LARGE",
                    f"a file may have {most_bytes} bytes; import it from storage, or send it in parts",
                    limit=most_bytes,
                )
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        return size
