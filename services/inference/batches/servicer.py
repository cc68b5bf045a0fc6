"""The Batches service."""

from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import batches_pb2 as pb
from ingrain.v1 import batches_pb2_grpc
from servicekit import identity
from servicekit.resources import new_id
from services.inference.batches.run import Batches

VERB = "CreateBatch"


class BatchServicer(batches_pb2_grpc.BatchesServicer):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    async def CreateBatch(self, request: pb.CreateBatchRequest, context: Any) -> Any:
        identity.authorize(request.parent)
        batch = new_batch(request)
        if request.validate_only:
            estimate = await self._batches.estimate(request)
            return self._batches.operations.done_with_estimate(batch.name, VERB, estimate)
        batch.row_count = (await self._batches.source(request.batch.dataset)).row_count
        await self._batches.meant(request, make=False)
        operation = await self._batches.operations.start(VERB, request, batch, request_id=request.request_id)
        await self._batches.name_operation(operation)
        return operation

    async def GetBatch(self, request: pb.GetBatchRequest, context: Any) -> pb.Batch:
        identity.authorize(request.name)
        return await self._batches.resources.get(request.name)

    async def ListBatches(self, request: pb.ListBatchesRequest, context: Any) -> pb.ListBatchesResponse:
        identity.authorize(request.parent)
        found, token = await self._batches.resources.list(
            request.parent, request.page_size, request.page_token
        )
        return pb.ListBatchesResponse(batches=found, next_page_token=token)

    async def DeleteBatch(self, request: pb.DeleteBatchRequest, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self._batches.resources.delete(request.name)
        return empty_pb2.Empty()


def new_batch(request: pb.CreateBatchRequest) -> pb.Batch:
    """What the caller says, without what the platform fills in."""
    given = request.batch
    return pb.Batch(
        name=f"{request.parent}/batches/{request.batch_id or new_id('batch')}",
        model=given.model,
        dataset=given.dataset,
        context=given.context,
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        seed=given.seed,
        stop=given.stop,
        labels=given.labels,
    )
