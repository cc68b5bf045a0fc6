"""Durable long-running operations: one row each, with request hash, lease and fence.

A row is made in the same transaction as its resource, and ends in the same transaction as its resource becomes
ACTIVE or FAILED. Who works on it holds a lease and a fence; whoever lost them can write nothing.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any

import grpc
import sqlalchemy as sa
from google.longrunning import operations_pb2 as pb
from google.longrunning import operations_pb2_grpc as pb_grpc
from google.protobuf import empty_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2

from ingrain.v1 import common_pb2
from servicekit import identity, metrics
from servicekit.database import Database
from servicekit.errors import Invalid, WrongState
from servicekit.failpoints import failpoint
from servicekit.identity import not_found
from servicekit.operation_protos import (
    CANCELLED,
    ENDED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    cancelled_status,
    request_digest,
    to_proto,
    without_uris,
)
from servicekit.resources import (
    DEFAULT_PAGE,
    GREATEST_PAGE,
    Resources,
    decode_token,
    encode_token,
    request_id_reused,
)
from servicekit.tables import operation as table

POLL_S = 0.2


class Operations:
    """The operations of one service. `resources` holds its resource stores by collection.

    `changing`: verbs that change a resource which is there, and stays as it is when they end in an error.
    """

    def __init__(
        self, database: Database, resources: dict[str, Resources[Any]], changing: Collection[str] = ()
    ) -> None:
        self.database = database
        self.resources = resources
        self.changing = frozenset(changing)
        self.created = asyncio.Event()  # wakes this process's worker
        self.draining = asyncio.Event()  # this process is ending: nobody is kept waiting in it

    async def start(
        self,
        verb: str,
        request: Message,
        resource: Message,
        *,
        request_id: str = "",
        check: Callable[[sa.Connection], None] | None = None,
    ) -> pb.Operation:
        """Makes the resource (CREATING) and its operation (PENDING) at once, or finds what `request_id` made. `check` refuses
        in the same transaction."""
        target: str = resource.name  # type: ignore[attr-defined]
        project = "/".join(target.split("/")[:2])
        request_id = request_id or str(uuid.uuid4())
        sha256 = request_digest(request)

        def start(connection: sa.Connection) -> pb.Operation:
            earlier = connection.execute(
                table.select().where(
                    table.c.project == project, table.c.verb == verb, table.c.request_id == request_id
                )
            ).one_or_none()
            if earlier is not None:
                if earlier.request_sha256 != sha256:
                    raise request_id_reused(request_id)
                return to_proto(earlier)
            if check is not None:
                check(connection)
            metadata = common_pb2.OperationMetadata(target=target, verb=verb)
            metadata.create_time.GetCurrentTime()
            metadata.update_time.CopyFrom(metadata.create_time)
            if verb not in self.changing:
                resource.state = common_pb2.CREATING  # type: ignore[attr-defined]
                resource.create_time.CopyFrom(metadata.create_time)  # type: ignore[attr-defined]
                self.store_of(target).insert_in(connection, resource)
                failpoint("operations.between_inserts")
            now = self.database.now()
            name = f"{target}/operations/{secrets.token_hex(6)}"
            connection.execute(
                table.insert().values(
                    name=name,
                    project=project,
                    target=target,
                    verb=verb,
                    state=PENDING,
                    request=request.SerializeToString(),
                    request_id=request_id,
                    request_sha256=sha256,
                    metadata=metadata.SerializeToString(),
                    created=now,
                    updated=now,
                )
            )
            failpoint("operations.before_commit")
            return to_proto(self.row_in(connection, name))

        started = await self.database.run(start)
        failpoint("operations.after_create")
        self.created.set()
        return started

    def done_with_estimate(self, target: str, verb: str, estimate: common_pb2.Estimate) -> pb.Operation:
        """The answer to `validate_only`: an operation that is done and was never stored."""
        metadata = common_pb2.OperationMetadata(target=target, verb=verb, estimate=estimate)
        done = pb.Operation(name=f"{target}/operations/validate-only", done=True)
        done.metadata.Pack(metadata)
        done.response.Pack(estimate)
        return done

    async def get(self, name: str) -> pb.Operation:
        return to_proto(await self.database.run(lambda connection: self.row_in(connection, name)))

    async def list(
        self, under: str, page_size: int = 0, page_token: str = ""
    ) -> tuple[list[pb.Operation], str]:
        """Of a collection (`projects/p/models`) or a resource (`projects/p/models/m`), newest first."""
        if page_size < 0:
            raise Invalid(
                "BAD_PAGE_SIZE", f"page_size is {page_size}; it must not be negative", field="page_size"
            )
        size = min(page_size or DEFAULT_PAGE, GREATEST_PAGE)
        under = under.rstrip("/").removesuffix("/operations")
        depth = len(under.split("/"))
        if depth not in (3, 4):
            raise Invalid(
                "BAD_NAME",
                f"operations are listed of a collection, projects/p/models, or of a resource in it; {under} is neither",
                field="name",
            )
        is_collection = depth == 3
        mine = (
            table.c.target.startswith(under + "/", autoescape=True)
            if is_collection
            else table.c.target == under
        )
        query = table.select().where(mine).order_by(table.c.sequence.desc()).limit(size + 1)
        if page_token:
            query = query.where(table.c.sequence < decode_token(page_token))
        rows = await self.database.run(lambda connection: connection.execute(query).all())
        token = encode_token(rows[size - 1].sequence) if len(rows) > size else ""
        return [to_proto(row) for row in rows[:size]], token

    async def wait(self, name: str, timeout_s: float) -> pb.Operation:
        """As soon as it has ended, or as it stands after `timeout_s` or when this process drains."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = await self.get(name)
            left_s = deadline - time.monotonic()
            if found.done or left_s <= 0 or self.draining.is_set():
                return found
            await happens(self.draining, min(POLL_S, left_s))

    async def cancel(self, name: str) -> None:
        """Asks for an end. What has not begun ends at once; what runs ends when its worker has stopped it."""

        def cancel(connection: sa.Connection) -> None:
            row = self.row_in(connection, name, lock=True)
            if row.state == PENDING:
                self.finish_in(connection, row, CANCELLED, error=cancelled_status())
                metrics.operation_ended(
                    row.verb, CANCELLED, self.row_in(connection, name).updated - row.created
                )
            elif row.state == RUNNING:
                connection.execute(table.update().where(table.c.name == name).values(cancel_requested=True))

        await self.database.run(cancel)

    async def wake(self, target: str) -> None:
        """What was deferred (or waits before another try) is taken up at once."""
        mine = sa.and_(table.c.target == target, table.c.state == PENDING)
        await self.database.run(
            lambda c: c.execute(
                table.update().where(mine).values(not_before=0.0, updated=self.database.now())
            )
        )
        self.created.set()

    async def delete(self, name: str) -> None:
        """Forgets an operation that has ended."""

        def delete(connection: sa.Connection) -> None:
            if self.row_in(connection, name, lock=True).state not in ENDED:
                raise WrongState(
                    "OPERATION_RUNNING", f"{name} has not ended; cancel it first", operation=name
                )
            connection.execute(table.delete().where(table.c.name == name))

        await self.database.run(delete)

    def store_of(self, target: str) -> Resources[Any]:
        return self.resources[target.split("/")[2]]

    def row_in(self, connection: sa.Connection, name: str, *, lock: bool = False) -> sa.Row[Any]:
        """`lock` keeps workers from claiming or ending it until the transaction ends."""
        query = table.select().where(table.c.name == name)
        if lock and not self.database.is_sqlite:
            query = query.with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            raise not_found(name)
        return row

    def finish_in(
        self,
        connection: sa.Connection,
        row: sa.Row[Any],
        state: str,
        resource: Message | None = None,
        error: status_pb2.Status | None = None,
    ) -> None:
        """Ends operation and resource in the caller's transaction, which has checked lease and fence."""
        store = self.store_of(row.target)
        if resource is None:
            resource = store.get_in(connection, row.target, lock=True, deleted_too=True)
            if row.verb not in self.changing:
                resource.state = common_pb2.FAILED
        else:
            resource.state = common_pb2.ACTIVE  # type: ignore[attr-defined]
        store.replace_in(connection, resource)
        metadata = common_pb2.OperationMetadata.FromString(row.metadata)
        metadata.end_time.GetCurrentTime()
        metadata.update_time.CopyFrom(metadata.end_time)
        result = AnyMessage()
        result.Pack(resource)
        connection.execute(
            table.update()
            .where(table.c.name == row.name)
            .values(
                state=state,
                result=result.SerializeToString() if state == SUCCEEDED else None,
                error=error.SerializeToString() if error else None,
                metadata=metadata.SerializeToString(),
                owner=None,
                lease_until=None,
                updated=self.database.now(),
            )
        )


class OperationsServicer(pb_grpc.OperationsServicer):
    """google.longrunning.Operations over a service's operations."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    async def GetOperation(self, request: Any, context: Any) -> pb.Operation:
        identity.authorize(request.name)
        return self._shown(await self.operations.get(request.name))

    async def ListOperations(self, request: Any, context: Any) -> pb.ListOperationsResponse:
        identity.authorize(request.name)
        if request.filter:
            raise Invalid(
                "UNSUPPORTED_FILTER", "filter must be empty; choose by name instead", field="filter"
            )
        found, token = await self.operations.list(request.name, request.page_size, request.page_token)
        return pb.ListOperationsResponse(operations=map(self._shown, found), next_page_token=token)

    async def WaitOperation(self, request: Any, context: Any) -> pb.Operation:
        identity.authorize(request.name)
        asked_s = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else 30.0
        left_s = context.time_remaining()
        limit_s = asked_s if left_s is None else min(asked_s, max(0.0, left_s - 0.5))
        return self._shown(await self.operations.wait(request.name, limit_s))

    def _shown(self, operation: pb.Operation) -> pb.Operation:
        if identity.is_service():
            return operation
        return without_uris(operation, self.operations.store_of(operation.name).message_type())

    async def CancelOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self.operations.cancel(request.name)
        return empty_pb2.Empty()

    async def DeleteOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self.operations.delete(request.name)
        return empty_pb2.Empty()


async def happens(event: asyncio.Event, timeout_s: float) -> None:
    """Until it does, or for `timeout_s`. asyncio.wait_for may swallow a cancellation that comes with the event."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiting], timeout=timeout_s)
    finally:
        waiting.cancel()


def add_operations(server: grpc.aio.Server, operations: Operations) -> str:
    pb_grpc.add_OperationsServicer_to_server(OperationsServicer(operations), server)
    return "google.longrunning.Operations"
