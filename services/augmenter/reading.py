"""A dataset's rows out of storage: all of one payload, whatever is withdrawn meanwhile."""

from collections.abc import AsyncIterator

from ingrain.v1 import datasets_pb2 as pb
from servicekit.errors import NotFound, WrongState
from servicekit.resources import Resources
from servicekit.storage import Storage
from services.augmenter.intake import lines_of

MESSAGE_BYTES = 900_000


async def opened(
    storage: Storage, resources: Resources[pb.Dataset], dataset: pb.Dataset
) -> tuple[pb.Dataset, AsyncIterator[str]]:
    """The dataset as it is when its first bytes have come, and its rows.

    A withdrawal puts another payload in the place of this one and takes this one away: who comes too late for it reads
    the other. What breaks off later is an error, never rows of both.
    """
    while True:
        chunks = storage.stream(storage.key(dataset.uri))
        try:
            first = await anext(chunks, b"")
        except NotFound:
            now = await resources.get(dataset.name)
            if now.uri == dataset.uri:
                raise
            dataset = now
            continue
        return dataset, _decoded(first, chunks)


async def pages(
    dataset: pb.Dataset, lines: AsyncIterator[str], request: pb.ReadRowsRequest
) -> AsyncIterator[pb.ReadRowsResponse]:
    """What is asked for of opened rows, in messages. WrongState where the reader began with other ones."""
    if request.sha256 and request.sha256 != dataset.sha256:
        raise WrongState(
            "DATASET_CHANGED",
            f"rows of {dataset.name} were withdrawn while it was read; read it again from the first row",
            dataset=dataset.name,
            sha256=dataset.sha256,
        )
    end = request.start_row + request.max_row_count if request.max_row_count else dataset.row_count
    batch, size, number = pb.ReadRowsResponse(start_row=request.start_row, sha256=dataset.sha256), 0, 0
    async for line in lines:
        if number >= end:
            break
        if number >= request.start_row:
            line_bytes = len(line.encode())
            if batch.rows and size + line_bytes > MESSAGE_BYTES:
                yield batch
                batch, size = pb.ReadRowsResponse(start_row=number, sha256=dataset.sha256), 0
            batch.rows.append(line)
            size += line_bytes
        number += 1
    if batch.rows:
        yield batch


async def _decoded(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    async for line in lines_of(all_of_them()):
        yield line.decode()
