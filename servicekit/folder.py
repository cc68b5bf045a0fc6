"""Storage in a folder: temp file, fsync, rename, fsync of the folder. Survives kill -9 and power cuts."""

import asyncio
import errno
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from servicekit.errors import Exhausted
from servicekit.failpoints import failpoint
from servicekit.storage import CHUNK_BYTES, ObjectInfo, Storage, Stored, checked_key, file_sha256, no_object

# Files in work begin with a dot, which no key segment does: they are never listed or read.
_TEMP_PREFIX = ".part-"


class FolderStorage(Storage):
    """Keys are paths: checked strictly, they cannot leave the folder, and a person can read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = f"file://{folder}"

    async def put_file(self, key: str, path: Path) -> Stored:
        sha256 = await file_sha256(path)
        size_bytes = await asyncio.to_thread(self._publish, checked_key(key), path)
        return Stored(self.uri(key), size_bytes, sha256)

    def _publish(self, key: str, source: Path) -> int:
        target = self.folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.parent / f"{_TEMP_PREFIX}{uuid.uuid4().hex}"
        try:
            with source.open("rb") as reader, temp.open("wb") as writer:
                shutil.copyfileobj(reader, writer, CHUNK_BYTES)
                writer.flush()
                os.fsync(writer.fileno())
                size_bytes = writer.tell()
            failpoint("storage.before_rename")
            temp.rename(target)
        except OSError as error:
            temp.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Exhausted(
                    "STORAGE_FULL", f"no space left in {self.folder}; free some and try again"
                ) from error
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        failpoint("storage.after_rename")
        return size_bytes

    async def stream(self, key: str, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        path = self.folder / checked_key(key)
        if not path.is_file():
            raise no_object(self.uri(key))
        with path.open("rb") as file:
            file.seek(start)
            while chunk := await asyncio.to_thread(file.read, chunk_bytes):
                yield chunk

    async def stat(self, key: str) -> ObjectInfo | None:
        path = self.folder / checked_key(key)
        return ObjectInfo(key, path.stat().st_size) if path.is_file() else None

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        start = self.folder / prefix.rpartition("/")[0]
        found = await asyncio.to_thread(lambda: sorted(p for p in start.rglob("*") if p.is_file()))
        keys = {path.relative_to(self.folder).as_posix(): path for path in found if path.name[0] != "."}
        for key in sorted(keys):
            if key.startswith(prefix):
                yield ObjectInfo(key, keys[key].stat().st_size)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread((self.folder / checked_key(key)).unlink, True)
