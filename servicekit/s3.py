"""Storage in any S3, by the minio package, with our own time limits."""

import asyncio
import errno
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from servicekit.errors import Exhausted, NotFound, PermissionDenied, Unavailable
from servicekit.failpoints import failpoint
from servicekit.metrics import timed_call, timed_stream
from servicekit.settings import ServiceSettings
from servicekit.storage import CHUNK_BYTES, ObjectInfo, Storage, Stored, checked_key, no_object, pieces

T = TypeVar("T")
PART_BYTES = 16 << 20


class S3Storage(Storage):
    """`bucket` is made where it is missing."""

    def __init__(self, bucket: str, prefix: str, settings: ServiceSettings) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")
        self.endpoint = settings.s3_endpoint
        self.scratch = settings.scratch
        # The client's own pool waits five minutes and tries five times; no caller's deadline survives that.
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=3, read=30),
            maxsize=16,
            retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        )
        self._client = Minio(
            settings.s3_endpoint or "s3.amazonaws.com",
            access_key=settings.s3_access_key.get_secret_value() or None,
            secret_key=settings.s3_secret_key.get_secret_value() or None,
            region=settings.s3_region,
            secure=settings.s3_secure,
            http_client=pool,
        )
        self._bucket_made = False

    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> Stored:
        """Through a nameless local file, so that the client can repeat a part without asking the caller again."""
        checked_key(key)
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.scratch) as spool:
            try:
                async for piece in pieces(data):
                    await asyncio.to_thread(spool.write, piece)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise Exhausted("STORAGE_FULL", f"no space left in {self.scratch}; free some") from error
                raise
            return await self._put_open(key, spool)

    async def put_file(self, key: str, path: Path) -> Stored:
        with path.open("rb") as file:
            return await self._put_open(key, file)

    @timed_call("put")
    async def _put_open(self, key: str, file: BinaryIO) -> Stored:
        def digest() -> tuple[str, int]:
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            return sha256, file.tell()

        name = self.prefix + checked_key(key)
        sha256, size_bytes = await asyncio.to_thread(digest)
        failpoint("storage.before_rename")
        await self._call(key, self._upload, name, file, size_bytes)
        failpoint("storage.after_rename")
        return Stored(self.uri(key), size_bytes, sha256)

    def _upload(self, name: str, file: BinaryIO, size_bytes: int) -> None:
        if not self._bucket_made:
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)
            self._bucket_made = True
        file.seek(0)
        self._client.put_object(self.bucket, name, file, size_bytes, part_size=PART_BYTES)

    @timed_stream("read")
    async def stream(self, key: str, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        name = self.prefix + checked_key(key)
        if start and (found := await self.stat(key)) and start >= found.size_bytes:
            return
        response = await self._call(key, lambda: self._client.get_object(self.bucket, name, offset=start))
        try:
            while chunk := await self._call(key, lambda: response.read(chunk_bytes)):
                yield chunk
        finally:
            response.close()
            response.release_conn()

    @timed_call("stat")
    async def stat(self, key: str) -> ObjectInfo | None:
        name = self.prefix + checked_key(key)

        def stat() -> ObjectInfo | None:
            try:
                found = self._client.stat_object(self.bucket, name)
                return ObjectInfo(key, found.size or 0, bare(found.etag))
            except (S3Error, InvalidResponseError) as error:
                if http_status(error) == 404:
                    return None
                raise

        return await self._call(key, stat)

    @timed_stream("list")
    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        def page() -> list[ObjectInfo]:
            found = self._client.list_objects(self.bucket, self.prefix + prefix, recursive=True)
            return [
                ObjectInfo((o.object_name or "")[len(self.prefix) :], o.size or 0, bare(o.etag))
                for o in found
                if not o.is_dir
            ]

        try:
            objects = await self._call(prefix, page)
        except NotFound:  # no bucket yet
            return
        for found in objects:
            yield found

    @timed_call("delete")
    async def delete(self, key: str) -> None:
        await self._call(key, self._client.remove_object, self.bucket, self.prefix + checked_key(key))

    async def _call(self, key: str, fn: Callable[..., T], *arguments: object) -> T:
        """In a thread, errors by HTTP status: servers differ in their texts, and some answer no XML at all."""
        try:
            return await asyncio.to_thread(fn, *arguments)
        except (S3Error, InvalidResponseError, ServerError) as error:
            status = http_status(error)
            if status == 404:
                raise no_object(self.uri(key)) from error
            if status in (401, 403):
                raise PermissionDenied(
                    "STORAGE_REFUSED",
                    f"{self.endpoint} refused {self.bucket}; check the S3 access and secret key",
                ) from error
            if status == 507:
                raise Exhausted("STORAGE_FULL", f"{self.endpoint} has no space left") from error
            raise Unavailable(
                "STORAGE_FAILED", f"{self.endpoint} answered {status} for {key}", 2.0
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable("STORAGE_UNREACHABLE", f"{self.endpoint} cannot be reached", 2.0) from error


def bare(etag: str | None) -> str:
    """Without the quotes that some servers give it in some answers."""
    return (etag or "").strip('"')


def http_status(error: S3Error | InvalidResponseError | ServerError) -> int:
    response = getattr(error, "response", None)
    status = (
        getattr(response, "status", None) or getattr(error, "_code", None) or getattr(error, "status_code", 0)
    )
    return int(status or 0)
