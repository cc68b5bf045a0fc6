"""A context that could not be made while the engine was away is made when it is back."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.rpc import code_pb2, status_pb2

from ingrain import AsyncClient
from ingrain.errors import NotFound
from ingrain.operation import AsyncOperations
from ingrain.v1 import inference_pb2 as pb
from servicekit.contexts import MOST_TRIES, ensure_context
from servicekit.errors import Unavailable

WANTED = pb.Context(model="projects/p/models/m", dataset="projects/p/datasets/d")


class Door:
    """Keeps operations by request, as the real one does: what has failed is answered with its failure."""

    def __init__(self) -> None:
        self.away = True
        self.operations: dict[str, operations_pb2.Operation] = {}
        self.contexts: set[str] = set()

    async def CreateContext(self, request: pb.CreateContextRequest) -> operations_pb2.Operation:
        if request.request_id in self.operations:
            return self.operations[request.request_id]
        ended = operations_pb2.Operation(name=f"operations/{request.request_id}", done=True)
        if self.away:
            ended.error.CopyFrom(status_pb2.Status(code=code_pb2.UNAVAILABLE, message="away"))
        else:
            ended.response.Pack(request.context)
            self.contexts.add(f"{request.parent}/contexts/{request.context_id}")
        self.operations[request.request_id] = ended
        return operations_pb2.Operation(name=ended.name)

    async def WaitOperation(self, request: Any, timeout: float) -> operations_pb2.Operation:
        return self.operations[request.name.rpartition("/")[2]]

    async def GetContext(self, request: pb.GetContextRequest) -> pb.Context:
        if request.name not in self.contexts:
            raise NotFound("not there")
        return pb.Context(name=request.name)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def client(door: Door) -> AsyncClient:
    made: Any = SimpleNamespace(
        parent="projects/p", stubs=SimpleNamespace(inference=door, operations=door), _channel=None
    )
    made.operations = AsyncOperations(made)
    return made


async def test_as_many_names_as_failed_before_another_is_tried(door: Door, client: AsyncClient) -> None:
    for round in (1, 2):
        with pytest.raises(Unavailable, match="could not be made"):
            await ensure_context(client, WANTED, "augment", "content")
        assert len(door.operations) == round * MOST_TRIES
    door.away = False
    name = await ensure_context(client, WANTED, "augment", "content")
    assert name.endswith(f"-{2 * MOST_TRIES}")
    assert await ensure_context(client, WANTED, "augment", "content") == name
    door.contexts.clear()
    assert (await ensure_context(client, WANTED, "augment", "content")).endswith(f"-{2 * MOST_TRIES + 1}")
