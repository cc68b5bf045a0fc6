"""What was kept -> the dataset of answers, uploaded as any caller uploads."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

from ingrain import AsyncClient, errors
from ingrain.v1 import batches_pb2
from ingrain.v1 import datasets_pb2 as pb
from servicekit.failpoints import failpoint
from servicekit.storage import Storage
from services.inference.batches.parts import LABEL, Part

ATTEMPTS = 6  # with pauses of 0.5, 1, 2, 4 and 8 s
MOST_ID = 63


async def upload(
    client: AsyncClient, storage: Storage, batch: batches_pb2.Batch, parts: Sequence[Part]
) -> pb.Dataset:
    """The same batch gives the same dataset, also when an attempt before this one had uploaded it already."""
    batch_id = batch.name.rpartition("/")[2]
    unique = batch.operation.rpartition("/")[2]
    for dataset_id in (f"{batch_id}-answers"[:MOST_ID], f"{batch_id[:40]}-{unique}"):
        try:
            dataset = await _upload(client, storage, batch, parts, dataset_id)
        except errors.AlreadyExists:  # somebody else's
            continue
        failpoint("batches.after_upload")
        dataset.ClearField("uri")  # what an operation answers is shown to its caller
        return dataset
    raise AssertionError("unreachable: the second name is nobody else's")


async def _upload(
    client: AsyncClient, storage: Storage, batch: batches_pb2.Batch, parts: Sequence[Part], dataset_id: str
) -> pb.Dataset:
    title = f"answers of {batch.model} to {batch.dataset.rpartition('/')[2]}"[:200]
    labels = {**dict(list(batch.labels.items())[:31]), LABEL: batch.name}
    header = pb.UploadDatasetHeader(
        parent=client.parent,
        dataset_id=dataset_id,
        dataset=pb.Dataset(kind=pb.Dataset.ANSWERS, display_name=title, labels=labels),
        request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{batch.operation} {dataset_id} {len(parts)}")),
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await client.stubs.datasets.UploadDataset(_messages(storage, header, parts))
        except errors.Unavailable:
            if attempt == ATTEMPTS:
                raise
        await asyncio.sleep(2.0**attempt / 4)
    raise AssertionError("unreachable")


async def _messages(
    storage: Storage, header: pb.UploadDatasetHeader, parts: Sequence[Part]
) -> AsyncIterator[pb.UploadDatasetRequest]:
    yield pb.UploadDatasetRequest(header=header)
    for part in parts:
        async for chunk in storage.stream(part.storage_key):
            yield pb.UploadDatasetRequest(chunk=chunk)
