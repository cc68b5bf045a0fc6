"""/v1/batches over ingrain.v1.Batches: a file of requests in, files of answers and of errors out."""

import asyncio
import secrets
from typing import Annotated, Any, Literal

from aiohttp import web
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import code_pb2
from pydantic import Field, ValidationError

from ingrain import errors as sdk_errors
from ingrain.names import target_of
from ingrain.v1 import batches_pb2 as pb
from ingrain.v1 import common_pb2
from servicekit.errors import Invalid
from services.gateway.http.backends import Asked
from services.gateway.http.bodies import Part, refusal
from services.gateway.http.calls import PARAM_OF, Door
from services.gateway.http.files import CONTEXT, ENDPOINT, ERRORS, MODEL, dataset_of, shared_of
from services.gateway.http.names import model_name

BATCHES, OPERATIONS = "/ingrain.v1.Batches", "/google.longrunning.Operations"
LABELS = (ENDPOINT, MODEL, CONTEXT)
MOST_LISTED = 100


class BatchBody(Part):
    input_file_id: Annotated[str, Field(min_length=1, max_length=200)]
    endpoint: str
    completion_window: Literal["24h"]
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None


class BatchesHandler:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def create(self, request: web.Request) -> web.Response:
        async with self._door.admitted(request, f"{BATCHES}/CreateBatch") as asked:
            request[PARAM_OF] = batch_param
            try:
                body = BatchBody.model_validate_json(await request.read())
            except ValidationError as error:
                raise refusal(error) from None
            body.check_extra()
            wanted = await self._wanted(asked, body)
            operation = await asked.unary(f"{BATCHES}/CreateBatch", wanted, operations_pb2.Operation)
            return web.json_response(await shown(asked, await found(asked, target_of(operation.name))))

    async def _wanted(self, asked: Asked, body: BatchBody) -> pb.CreateBatchRequest:
        dataset = await dataset_of(asked, body.input_file_id)
        shared = shared_of(dataset)
        if body.endpoint != shared.endpoint:
            told = f"endpoint is {body.endpoint[:50]!r} and the file's requests are for {shared.endpoint}"
            raise Invalid("OTHER_ENDPOINT", told, field="endpoint")
        labels = {ENDPOINT: shared.endpoint, MODEL: shared.model, CONTEXT: shared.context}
        if any(name in (body.metadata or {}) for name in (*LABELS, "batch")):
            raise Invalid("TAKEN_LABEL", f"metadata may not have {LABELS} and `batch`", field="metadata")
        batch = pb.Batch(
            model=model_name(asked.parent, shared.model),
            dataset=dataset.name,
            context=shared.context,
            seed=secrets.randbits(62),  # of requests without one
            labels=labels | (body.metadata or {}),
        )
        return pb.CreateBatchRequest(parent=asked.parent, batch=batch)

    async def get(self, request: web.Request) -> web.Response:
        async with self._door.admitted(request, f"{BATCHES}/GetBatch") as asked:
            request[PARAM_OF] = batch_param
            return web.json_response(await shown(asked, await found(asked, _name(asked, request))))

    async def cancel(self, request: web.Request) -> web.Response:
        """What is answered by then stays as the output."""
        async with self._door.admitted(request, f"{OPERATIONS}/CancelOperation") as asked:
            request[PARAM_OF] = batch_param
            batch = await found(asked, _name(asked, request))
            wanted = operations_pb2.CancelOperationRequest(name=batch.operation)
            await asked.unary(f"{OPERATIONS}/CancelOperation", wanted, empty_pb2.Empty)
            return web.json_response(await shown(asked, await found(asked, batch.name)))

    async def list(self, request: web.Request) -> web.Response:
        """Newest first, behind the batch `after`."""
        limit, after = _limit(request.query.get("limit", "20")), request.query.get("after", "")
        async with self._door.admitted(request, f"{BATCHES}/ListBatches") as asked:
            request[PARAM_OF] = batch_param
            listed, behind = [], not after
            pages = asked.pages(
                f"{BATCHES}/ListBatches",
                pb.ListBatchesRequest(parent=asked.parent),
                pb.ListBatchesResponse,
                "batches",
            )
            async for batch in pages:
                if behind and ENDPOINT in batch.labels:
                    listed.append(batch)
                behind = behind or batch.name.rpartition("/")[2] == after
                if len(listed) > limit:
                    break
            data = await asyncio.gather(*(shown(asked, batch) for batch in listed[:limit]))
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return web.json_response({"object": "list", "data": data, **ends, "has_more": len(listed) > limit})


def _name(asked: Asked, request: web.Request) -> str:
    return f"{asked.parent}/batches/{request.match_info['batch']}"


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:4]) <= MOST_LISTED:
        raise Invalid("BAD_LIMIT", f"limit is a number from 1 to {MOST_LISTED}", field="limit")
    return int(text)


async def found(asked: Asked, name: str) -> pb.Batch:
    return await asked.unary(f"{BATCHES}/GetBatch", pb.GetBatchRequest(name=name), pb.Batch)


async def shown(asked: Asked, batch: pb.Batch) -> dict[str, Any]:
    operation = operations_pb2.Operation()
    if batch.operation:
        wanted = operations_pb2.GetOperationRequest(name=batch.operation)
        try:
            operation = await asked.unary(f"{OPERATIONS}/GetOperation", wanted, operations_pb2.Operation)
        except sdk_errors.NotFound:  # deleted; the batch stands for itself
            operation.done = True
    if operation.done and batch.state == common_pb2.CREATING:  # it ended between the two looks
        batch = await found(asked, batch.name)
    return batch_of(batch, operation)


def batch_of(batch: pb.Batch, operation: operations_pb2.Operation) -> dict[str, Any]:
    """OpenAI's batch. Nothing expires, however long it takes."""
    metadata = common_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    status = status_of(batch, operation, metadata)
    ended = metadata.end_time.ToSeconds() if metadata.HasField("end_time") else None
    output = batch.output_dataset.rpartition("/")[2] or None
    failed = [{"code": code_pb2.Code.Name(operation.error.code), "message": operation.error.message}]
    return {
        "id": batch.name.rpartition("/")[2],
        "object": "batch",
        "endpoint": batch.labels.get(ENDPOINT, ""),
        "errors": {"object": "list", "data": failed} if status == "failed" else None,
        "input_file_id": batch.dataset.rpartition("/")[2],
        "completion_window": "24h",
        "status": status,
        "output_file_id": output if batch.answered_count > batch.error_count else None,
        "error_file_id": f"{ERRORS}{output}" if output and batch.error_count else None,
        "created_at": batch.create_time.ToSeconds(),
        "in_progress_at": batch.create_time.ToSeconds(),
        "expires_at": None,
        "completed_at": ended if status == "completed" else None,
        "failed_at": ended if status == "failed" else None,
        "cancelled_at": ended if status == "cancelled" else None,
        "request_counts": {
            "total": batch.row_count,
            "completed": batch.answered_count - batch.error_count,
            "failed": batch.error_count,
        },
        "metadata": {key: value for key, value in batch.labels.items() if key not in LABELS},
    }


def status_of(
    batch: pb.Batch, operation: operations_pb2.Operation, metadata: common_pb2.OperationMetadata
) -> str:
    if operation.HasField("error"):
        return "cancelled" if operation.error.code == code_pb2.CANCELLED else "failed"
    if operation.done:
        return "completed" if batch.state == common_pb2.ACTIVE else "failed"
    if metadata.cancel_requested:
        return "cancelling"
    return "finalizing" if metadata.stage == "uploading" else "in_progress"


def batch_param(field: str) -> str:
    """Of a batch's fields; who and what is asked comes with the file."""
    return "input_file_id" if field else field
