"""Storage in a folder: temp file, fsync, rename, fsync of the folder. Survives kill -9 and power cuts.

Keys are paths: checked strictly they cannot leave the folder, and a person can read what lies where, which digests
as file names would not allow.
"""

import asyncio
import errno
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from io import BufferedWriter
from pathlib import Path

from servicekit.errors import DomainError, Exhausted, Invalid
from servicekit.failpoints import failpoint
from servicekit.metrics import timed_call, timed_stream
from servicekit.storage import CHUNK_BYTES, ObjectInfo, Storage, Stored, checked_key, no_object, pieces

# Files in work lie here until they are whole. No key segment begins with a dot: they are never listed or read.
PARTS = ".parts"
ABANDONED_S = 24 * 3600.0  # what a killed process left behind goes after this time


class FolderStorage(Storage):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = f"file://{folder}"
        self._swept = False

    @timed_call("put")
    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> Stored:
        target = self.folder / checked_key(key)
        digest, size_bytes = hashlib.sha256(), 0
        part = await asyncio.to_thread(self._new_part)
        try:
            with part.open("wb") as file:

                def write(chunk: bytes) -> int:
                    digest.update(chunk)
                    return file.write(chunk)

                async for chunk in pieces(data):
                    size_bytes += await asyncio.to_thread(write, chunk)
                await asyncio.to_thread(_sync, file)
            failpoint("storage.before_rename")
            await asyncio.to_thread(_publish, part, target)
            failpoint("storage.after_rename")
        except OSError as error:
            raise self._as_domain_error(error, key) from error
        finally:
            part.unlink(missing_ok=True)
        return Stored(self.uri(key), size_bytes, digest.hexdigest())

    @timed_stream("read")
    async def stream(self, key: str, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        path = self.folder / checked_key(key)
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise no_object(self.uri(key)) from None
        with file:
            file.seek(start)
            while chunk := await asyncio.to_thread(file.read, chunk_bytes):
                yield chunk

    @timed_call("stat")
    async def stat(self, key: str) -> ObjectInfo | None:
        path = self.folder / checked_key(key)
        return await asyncio.to_thread(_info, key, path)

    @timed_stream("list")
    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        above = prefix.rpartition("/")[0]
        start = self.folder / checked_key(above) if above else self.folder
        for found in await asyncio.to_thread(_walk, self.folder, start):
            if found.key.startswith(prefix):
                yield found

    @timed_call("delete")
    async def delete(self, key: str) -> None:
        def delete(path: Path) -> None:
            if path.is_file():
                path.unlink(missing_ok=True)

        await asyncio.to_thread(delete, self.folder / checked_key(key))

    def _new_part(self) -> Path:
        parts = self.folder / PARTS
        parts.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            for path in parts.iterdir():
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink(missing_ok=True)
        return parts / uuid.uuid4().hex

    def _as_domain_error(self, error: OSError, key: str) -> DomainError | OSError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Exhausted("STORAGE_FULL", f"no space left in {self.folder}; free some and try again")
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            return Invalid("BAD_KEY", f"a part of {key!r} is an object already, or objects lie under it")
        return error


def _sync(file: BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(part: Path, target: Path) -> None:
    """Whole and durable, or not there: folders that are made on the way are entries to be kept too."""
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    part.rename(target)
    for folder in (target.parent, *(folder.parent for folder in made)):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _info(key: str, path: Path) -> ObjectInfo | None:
    """None for what is no file, or is one no more."""
    try:
        return ObjectInfo(key, path.stat().st_size) if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _walk(root: Path, start: Path) -> list[ObjectInfo]:
    found = []
    for folder, folders, files in os.walk(start):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            info = _info(path.relative_to(root).as_posix(), path)
            if info and not name.startswith("."):
                found.append(info)
    return sorted(found, key=lambda info: info.key)
