"""A servicer over a real socket that answers, or fails, as its requests say."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
import structlog

from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import datasets_pb2_grpc as pb_grpc
from servicekit import errors, identity
from servicekit.server import new_server
from servicekit.settings import ServiceSettings

TOKEN = "the-gateways-own-token"
GATEWAY = (
    (identity.GATEWAY_TOKEN, TOKEN),
    (identity.CALLER_KIND, "user"),
    (identity.CALLER_ID, "key-1"),
    (identity.CALLER_PROJECT, "projects/p"),
)
FAULTS: dict[str, Callable[[], Exception]] = {
    "missing": lambda: identity.not_found("projects/p/datasets/missing"),
    "invalid": lambda: errors.Invalid(
        "BAD_ROW", "row 17 has no answer; add one", field="rows[17].answer", row=17
    ),
    "taken": lambda: errors.AlreadyExists("NAME_TAKEN", "taken", resource="projects/p/datasets/taken"),
    "state": lambda: errors.WrongState("NOT_ACTIVE", "wait until it is ACTIVE"),
    "busy": lambda: errors.Busy("BUSY", "somebody else is at it"),
    "full": lambda: errors.Exhausted("TOO_MANY", "5 of 5 in use", retry_after_s=2.5, limit=5),
    "away": lambda: errors.Unavailable("AWAY", "try again", retry_after_s=1.0),
    "forbidden": lambda: errors.PermissionDenied("NO", "you may not"),
    "endless": lambda: errors.Invalid("LONG", "ä" * 100_000, field="f" * 10_000, text="x" * 100_000),
    "surprise": lambda: RuntimeError("the password is hunter2"),
}


class Servicer(pb_grpc.DatasetsServicer):
    """`GetDataset(projects/p/datasets/<fault>)` raises it; ReadRows after `start_row` rows, uploads after all chunks."""

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.Dataset:
        identity.authorize(request.name)
        self._fail(request.name)
        if request.name.endswith("/aborted"):
            await context.abort(grpc.StatusCode.DATA_LOSS, "by hand")
        caller = identity.caller()
        return pb.Dataset(name=request.name, display_name=f"{caller.kind} {caller.id}")

    async def ReadRows(self, request: pb.ReadRowsRequest, context: Any) -> AsyncIterator[pb.ReadRowsResponse]:
        identity.authorize(request.name)
        for row in range(request.start_row):
            yield pb.ReadRowsResponse(start_row=row)
        self._fail(request.name)

    async def UploadDataset(
        self, requests: AsyncIterator[pb.UploadDatasetRequest], context: Any
    ) -> pb.Dataset:
        size = 0
        async for request in requests:
            size += len(request.chunk)
            self._fail(f"projects/p/datasets/{request.header.dataset_id}")
        return pb.Dataset(size_bytes=size)

    def _fail(self, name: str) -> None:
        if fault := FAULTS.get(name.rpartition("/")[2]):
            raise fault()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = new_server(ServiceSettings(gateway_token=TOKEN))
    pb_grpc.add_DatasetsServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def stub(address: str) -> AsyncIterator[pb_grpc.DatasetsStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield pb_grpc.DatasetsStub(channel)


@pytest.fixture
def gateway() -> tuple[tuple[str, str], ...]:
    """The metadata that the gateway sends for a user of `projects/p`."""
    return GATEWAY


@pytest.fixture
def faults() -> dict[str, Callable[[], Exception]]:
    return FAULTS


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Log lines as they would be written."""
    lines: list[dict[str, Any]] = []

    def keep(_: Any, __: str, event: Any) -> str:
        lines.append(json.loads(json.dumps(dict(event), default=str)))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    yield lines
    structlog.reset_defaults()
