"""Bytes by key, in a folder or in any S3: put, get, stream, stat, list, delete, and nothing else.

Objects are written once and are visible whole or not at all. No correctness rests on conditional writes, tags or
versioning, which many S3 servers lack or break. Keys are ours, never a user's text.
"""

import asyncio
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from servicekit.errors import Invalid, NotFound
from servicekit.metrics import expect_storage
from servicekit.settings import ServiceSettings

CHUNK_BYTES = 1 << 20
_SEGMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._=-]{0,127}$")
GREATEST_KEY_BYTES = 900


@dataclass(frozen=True)
class ObjectInfo:
    """`etag`: what the server says tells this content from others under the key; empty where it says nothing."""

    key: str
    size_bytes: int
    etag: str = ""


@dataclass(frozen=True)
class Stored:
    uri: str
    size_bytes: int
    sha256: str


class Storage(ABC):
    """Keys are `/`-separated; `root` is the URI under which they lie."""

    root: str

    @abstractmethod
    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> Stored:
        """The bytes under `key`, all at once or not at all; a stream takes no more memory than its pieces."""

    @abstractmethod
    def stream(self, key: str, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        """From byte `start` on. NotFound before the first chunk."""

    @abstractmethod
    async def stat(self, key: str) -> ObjectInfo | None: ...

    @abstractmethod
    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, in the order of their keys."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Gone afterwards, whether it was there or not."""

    async def put_file(self, key: str, path: Path) -> Stored:
        return await self.put(key, pieces_of_file(path))

    async def get(self, key: str) -> bytes:
        return b"".join([chunk async for chunk in self.stream(key)])

    async def get_file(self, key: str, path: Path) -> str:
        """Writes the object to `path`; returns its sha256, which callers compare with the one in SQL."""
        digest = hashlib.sha256()
        part = path.with_name(path.name + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                async for chunk in self.stream(key):
                    digest.update(chunk)
                    file.write(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return digest.hexdigest()

    def uri(self, key: str) -> str:
        return f"{self.root}/{key}"

    def key(self, uri: str) -> str:
        if not uri.startswith(self.root + "/"):
            raise Invalid("FOREIGN_URI", f"{uri} is not in this platform's storage")
        return uri[len(self.root) + 1 :]


def checked_key(key: str) -> str:
    """Our keys only: no user's text, no `..`, no empty segment ever reaches a disk or a server."""
    if len(key.encode()) > GREATEST_KEY_BYTES or not all(_SEGMENT.match(part) for part in key.split("/")):
        raise Invalid("BAD_KEY", f"{key!r} is no storage key", field="key")
    return key


def no_object(uri: str) -> NotFound:
    return NotFound("OBJECT_NOT_FOUND", f"{uri} does not exist", resource=uri)


async def pieces(data: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    async for piece in data:
        yield piece


async def pieces_of_file(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece


def open_storage(settings: ServiceSettings) -> Storage:
    """The platform's own storage, `settings.storage`."""
    expect_storage()
    return open_root(settings.storage, settings)


def open_root(uri: str, settings: ServiceSettings) -> Storage:
    from servicekit.folder import FolderStorage
    from servicekit.s3 import S3Storage

    parsed = urlparse(uri)
    if parsed.scheme == "file" and not parsed.netloc and parsed.path.strip("/"):
        return FolderStorage(Path(parsed.path))
    if parsed.scheme == "s3" and parsed.netloc:
        return S3Storage(parsed.netloc, parsed.path.strip("/"), settings)
    raise Invalid(
        "UNKNOWN_STORAGE", f"{uri} is neither file:///folder nor s3://bucket/prefix", field="storage"
    )


def open_uri(uri: str, settings: ServiceSettings) -> tuple[Storage, str]:
    """Storage and key of a source that a user named: `s3://bucket/key`. Never the platform's own: that is everybody's."""
    parsed = urlparse(uri)
    if parsed.scheme != "s3" or not parsed.netloc:
        raise Invalid("UNKNOWN_STORAGE", f"{uri} is not s3://bucket/key", field="source_uri")
    key = parsed.path.strip("/")
    own = urlparse(settings.storage)
    if own.scheme == "s3" and own.netloc == parsed.netloc and reaches(key, own.path.strip("/")):
        raise Invalid(
            "OWN_STORAGE",
            f"{uri} is the platform's own storage; import from another place",
            field="source_uri",
        )
    return open_root(f"s3://{parsed.netloc}", settings), key


def reaches(prefix: str, folder: str) -> bool:
    """Whether an object under `folder` has a key that begins with `prefix`."""
    return not folder or f"{folder}/".startswith(prefix) or prefix.startswith(f"{folder}/")
