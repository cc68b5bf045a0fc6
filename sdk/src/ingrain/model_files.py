"""A model's files on their way: down into a folder, or up in parts; resumed where they broke off, every byte checked."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ingrain import errors
from ingrain.resource import OUTAGE_S
from ingrain.rows import CHUNK_BYTES
from ingrain.v1 import trainer_pb2 as pb

if TYPE_CHECKING:
    from ingrain.client import AsyncClient

PARALLEL = 4
PARTIAL = ".part"  # behind the name of a file that is not whole yet
T = TypeVar("T")


def folder_sha256(digests: Mapping[str, str]) -> str:
    """`Model.sha256`: over the lines `name sha256` of the files in the order of their names."""
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def through_outages(call: Callable[[], Awaitable[T]]) -> T:
    """What the call gives; asked again after UNAVAILABLE, for as long as OUTAGE_S."""
    begun, pause_s = time.monotonic(), 0.2
    while True:
        try:
            return await call()
        except errors.Unavailable:
            if time.monotonic() - begun > OUTAGE_S:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, 5.0)


async def each(count: int, calls: list[Callable[[], Awaitable[None]]]) -> None:
    """All of them, `count` at a time; the first error ends the others."""
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            await call()

    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.ensure_future(work()) for _ in range(max(1, min(count, len(calls))))]
        stack.push_async_callback(_end, tasks)
        await asyncio.gather(*tasks)


async def _end(tasks: list["asyncio.Future[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Download:
    """Of one model into one folder."""

    def __init__(self, client: "AsyncClient", name: str, folder: Path) -> None:
        self._client = client
        self._name = name
        self._folder = folder

    async def run(self, parallel: int) -> Path:
        """Raises Internal where bytes arrive damaged; what has arrived stays, and the next run goes on from there."""
        model = await self._client.models.get(self._name)
        files = await self.files()
        self._folder.mkdir(parents=True, exist_ok=True)
        await each(parallel, [lambda file=file: self.file(file) for file in files])  # type: ignore[misc]
        if model.sha256 and folder_sha256({file.name: file.sha256 for file in files}) != model.sha256:
            raise errors.Internal(f"the files of {model.name} are not those of its digest; download it again")
        return self._folder

    async def files(self) -> list[pb.UploadFile]:
        """Names, sizes and digests: a stream that begins at a file's end tells that file and the next."""
        found = await self._heads(pb.UploadFile(), 1)
        while len(pair := await self._heads(found[-1], 2)) == 2:
            found.append(pair[1])
        return found

    async def _heads(self, last: pb.UploadFile, count: int) -> list[pb.UploadFile]:
        """So many files, or as many as there are, from the end of `last` on."""

        async def read() -> list[pb.UploadFile]:
            heads: list[pb.UploadFile] = []
            async with self._stream(last.name, last.size_bytes) as pieces:
                async for piece in pieces:
                    if piece.WhichOneof("payload") == "file":
                        heads.append(piece.file)
                    if len(heads) == count:
                        break
            return heads

        return await through_outages(read)

    async def file(self, file: pb.UploadFile) -> None:
        """Whole and right under its name, or not there; bytes that came before are kept under another name."""
        target = self._folder / file.name
        same_size = target.is_file() and target.stat().st_size == file.size_bytes
        if same_size and await asyncio.to_thread(file_sha256, target) == file.sha256:
            return
        partial = target.with_name(target.name + PARTIAL)
        await through_outages(lambda: self._rest(file, partial))
        if await asyncio.to_thread(file_sha256, partial) != file.sha256:
            partial.unlink()
            raise errors.Internal(
                f"{file.name} of {self._name} is not what was stored; it was removed, download it again"
            )
        partial.replace(target)

    async def _rest(self, file: pb.UploadFile, partial: Path) -> None:
        """From the byte on that is missing."""
        start = partial.stat().st_size if partial.is_file() else 0
        if start > file.size_bytes:
            partial.unlink()
            start = 0
        with partial.open("ab") as out:
            async with self._stream(file.name, start) as pieces:
                async for piece in pieces:
                    kind = piece.WhichOneof("payload")
                    if kind == "file" and piece.file.name != file.name:
                        break
                    if kind == "chunk":
                        await asyncio.to_thread(out.write, piece.chunk)
                        if out.tell() >= file.size_bytes:
                            break
        if partial.stat().st_size < file.size_bytes:
            raise errors.Unavailable(f"the download of {file.name} broke off")

    @contextlib.asynccontextmanager
    async def _stream(self, file: str, start: int) -> AsyncIterator[Any]:
        request = pb.DownloadModelRequest(name=self._name, start_file=file, start_byte=start)
        pieces = self._client.stubs.trainer.DownloadModel(request)
        try:
            yield pieces
        finally:
            pieces.cancel()


class PartUpload:
    """Of one folder's files."""

    def __init__(self, client: "AsyncClient", paths: list[Path]) -> None:
        self._client = client
        self._paths = {path.name: path for path in paths}
        self.digests: dict[str, str] = {}

    async def run(self, parallel: int) -> str:
        """Sends what is missing, small files first; the upload's id. Safe to repeat after anything."""
        for name, path in self._paths.items():
            self.digests[name] = await asyncio.to_thread(file_sha256, path)
        files = [
            pb.UploadFile(name=name, size_bytes=path.stat().st_size, sha256=self.digests[name])
            for name, path in self._paths.items()
        ]
        request = pb.StartModelUploadRequest(parent=self._client.parent, files=files)
        upload = await through_outages(lambda: self._client.stubs.trainer.StartModelUpload(request))
        there = {(part.file_name, part.part_number) for part in upload.parts}
        missing = [
            (file.name, number)
            for file in files
            for number in range(-(-file.size_bytes // upload.part_size_bytes))
            if (file.name, number) not in there
        ]
        await each(
            parallel,
            [lambda one=one: self._part(upload, *one) for one in missing],  # type: ignore[misc]
        )
        return str(upload.upload_id)

    async def _part(self, upload: pb.ModelUpload, name: str, number: int) -> None:
        path, start = self._paths[name], number * upload.part_size_bytes
        sha256 = await asyncio.to_thread(part_sha256, path, start, upload.part_size_bytes)
        header = pb.UploadModelPartHeader(
            parent=self._client.parent,
            upload_id=upload.upload_id,
            file_name=name,
            part_number=number,
            sha256=sha256,
        )
        await through_outages(
            lambda: self._client.stubs.trainer.UploadModelPart(
                part_messages(header, path, start, upload.part_size_bytes)
            )
        )


def part_chunks(path: Path, start: int, size_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while size_bytes and (chunk := file.read(min(CHUNK_BYTES, size_bytes))):
            size_bytes -= len(chunk)
            yield chunk


def part_sha256(path: Path, start: int, size_bytes: int) -> str:
    digest = hashlib.sha256()
    for chunk in part_chunks(path, start, size_bytes):
        digest.update(chunk)
    return digest.hexdigest()


def part_messages(
    header: pb.UploadModelPartHeader, path: Path, start: int, size_bytes: int
) -> Iterator[pb.UploadModelPartRequest]:
    yield pb.UploadModelPartRequest(header=header)
    for chunk in part_chunks(path, start, size_bytes):
        yield pb.UploadModelPartRequest(chunk=chunk)
