"""Long work: wait for it, watch it, cancel it, find it again by name."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2 as pb
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from ingrain import errors
from ingrain.names import full_name
from ingrain.resource import OUTAGE_S, Resource, pages
from ingrain.v1 import common_pb2

if TYPE_CHECKING:
    from ingrain.client import AsyncClient

OnProgress = Callable[[common_pb2.OperationMetadata], Awaitable[None] | None]

_CHUNK_S = 10.0  # of one WaitOperation call
_PROGRESS_CHUNK_S = 1.0  # the same while somebody looks
_PAUSE_S = 0.1  # least time between two calls, should a server answer at once


class AsyncOperation:
    """A handle on long work. `name` finds it again from anywhere: `client.operations.get(name)`."""

    def __init__(self, client: "AsyncClient", operation: pb.Operation) -> None:
        self._client = client
        self.operation = operation

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def done(self) -> bool:
        return self.operation.done

    @property
    def metadata(self) -> common_pb2.OperationMetadata:
        """As of the last answer; `refresh()` asks again."""
        return metadata_of(self.operation)

    async def refresh(self) -> "AsyncOperation":
        self.operation = await self._client.operations.fetch(self.name)
        return self

    async def result(self, timeout_s: float | None = None, on_progress: OnProgress | None = None) -> Any:
        """The finished resource. Raises OperationFailed, or DeadlineExceeded when waited too long."""
        async for operation in self._client.operations.follow(self.operation, timeout_s, bool(on_progress)):
            self.operation = operation
            await _tell(on_progress, operation)
        return response_of(self.operation)

    async def progress(self, timeout_s: float | None = None) -> AsyncIterator[common_pb2.OperationMetadata]:
        """Its metadata about once a second until it ends; never raises for how it ended."""
        async for operation in self._client.operations.follow(self.operation, timeout_s, True):
            self.operation = operation
            yield metadata_of(operation)

    async def cancel(self) -> None:
        """Asks for an end; `result()` then raises OperationCancelled, or returns if it was quicker."""
        await self._client.operations.cancel(self.name)

    def __repr__(self) -> str:
        return f"<operation {self.name} {'done' if self.done else self.metadata.stage or 'pending'}>"


class AsyncOperations(Resource):
    """`client.operations`."""

    async def get(self, name: str) -> AsyncOperation:
        return AsyncOperation(self._client, await self.fetch(name))

    async def fetch(self, name: str) -> pb.Operation:
        return await self._client.stubs.operations.GetOperation(pb.GetOperationRequest(name=self._name(name)))

    async def list(self, under: str, page_size: int = 0) -> AsyncIterator[AsyncOperation]:
        """Operations of a collection (`models`) or of a resource (`models/m`), newest first."""
        collection, _, name = under.rpartition("/")
        if under.startswith("projects/"):
            parent = under
        elif collection:
            parent = full_name(self._client.parent, collection, name)
        else:
            parent = f"{self._client.parent}/{under}"
        request = pb.ListOperationsRequest(name=parent, page_size=page_size)
        async for operation in pages(self._client.stubs.operations.ListOperations, request, "operations"):
            yield AsyncOperation(self._client, operation)

    async def cancel(self, name: str) -> None:
        await self._client.stubs.operations.CancelOperation(pb.CancelOperationRequest(name=self._name(name)))

    async def delete(self, name: str) -> None:
        """Forgets an operation that has ended."""
        await self._client.stubs.operations.DeleteOperation(pb.DeleteOperationRequest(name=self._name(name)))

    async def wait(
        self,
        operation: "pb.Operation | AsyncOperation | str",
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """The response message, unpacked. See AsyncOperation.result."""
        if isinstance(operation, str):
            operation = pb.Operation(name=self._name(operation))
        if isinstance(operation, pb.Operation):
            operation = AsyncOperation(self._client, operation)
        return await operation.result(timeout_s, on_progress)

    async def follow(
        self, operation: pb.Operation, timeout_s: float | None, looking: bool
    ) -> AsyncIterator[pb.Operation]:
        """The operation as it changes, last the ended one; through outages of the platform up to OUTAGE_S."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        chunk_s = _PROGRESS_CHUNK_S if looking else _CHUNK_S
        reachable = time.monotonic()
        pause_s = _PAUSE_S
        if operation.done:
            yield operation
        while not operation.done:
            left_s = chunk_s if deadline is None else min(chunk_s, deadline - time.monotonic())
            if left_s <= 0:
                raise errors.DeadlineExceeded(
                    f"{operation.name} was not done within {timeout_s:g} s; it goes on",
                    operation=operation.name,
                )
            asked = time.monotonic()
            try:
                operation = await self._wait_once(operation.name, left_s)
            except (errors.Unavailable, errors.DeadlineExceeded) as error:
                if time.monotonic() - reachable > OUTAGE_S:
                    error.operation = operation.name
                    raise
                pause_s = min(pause_s * 2, 5.0)
                await asyncio.sleep(pause_s)
                continue
            yield operation
            reachable, pause_s = time.monotonic(), _PAUSE_S
            if not operation.done:
                await asyncio.sleep(max(0.0, _PAUSE_S - (reachable - asked)))

    def _name(self, name: str) -> str:
        """The full name, also from `models/m/operations/o`."""
        return name if name.startswith("projects/") else f"{self._client.parent}/{name}"

    async def _wait_once(self, name: str, wait_s: float) -> pb.Operation:
        request = pb.WaitOperationRequest(name=name)
        request.timeout.FromNanoseconds(int(wait_s * 1e9))
        return await self._client.stubs.operations.WaitOperation(request, timeout=wait_s + 10.0)


def metadata_of(operation: pb.Operation) -> common_pb2.OperationMetadata:
    metadata = common_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def response_of(operation: pb.Operation) -> Any:
    """What an ended operation made. A `validate_only` one gives its Estimate. Raises OperationFailed."""
    if operation.HasField("error"):
        cause = errors.from_status(operation.error, operation=operation.name)
        kind = errors.OperationCancelled if isinstance(cause, errors.Cancelled) else errors.OperationFailed
        raise kind(operation.name, cause)
    metadata = metadata_of(operation)
    if metadata.HasField("estimate"):
        return metadata.estimate
    name = operation.response.TypeName()
    descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    message: Message = message_factory.GetMessageClass(descriptor)()
    operation.response.Unpack(message)
    return message


async def _tell(on_progress: OnProgress | None, operation: pb.Operation) -> None:
    if on_progress is not None:
        told = on_progress(metadata_of(operation))
        if inspect.isawaitable(told):
            await told
