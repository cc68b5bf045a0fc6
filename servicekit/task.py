"""What a handler holds in its hands: one attempt at an operation."""

import json
import time
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import Message

from ingrain.v1 import common_pb2
from servicekit.failpoints import failpoint
from servicekit.operation_protos import RUNNING
from servicekit.operations import Operations
from servicekit.tables import operation as table

PROGRESS_S = 0.5


class LostLease(Exception):
    """Another worker has this operation; nothing more may be written."""


class Deferred(Exception):
    """Raised by a handler that wants to be called again later; it counts as no failure and no attempt."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"later, in {seconds:g} s")
        self.seconds = seconds


class Task:
    """One attempt at an operation. Its writes count only while it holds the fence."""

    def __init__(self, operations: Operations, row: sa.Row[Any]) -> None:
        self.name: str = row.name
        self.target: str = row.target
        self.project: str = row.project
        self.verb: str = row.verb
        self.fence: int = row.fence
        self.attempt: int = row.attempts
        self.prefix = f"{row.target}/{row.name.rsplit('/', 1)[1]}-{row.fence}"
        self.notes: dict[str, Any] = json.loads(row.notes)
        self.stopping = ""  # "cancelled", "lost" or "drained", set before the handler is cancelled
        self._operations = operations
        self._metadata = common_pb2.OperationMetadata.FromString(row.metadata)
        self._written_s = 0.0

    async def progress(
        self, stage: str, completed: int = 0, total: int = 0, unit: str = "", message: str = ""
    ) -> None:
        """Shown to whoever watches. A change of stage at once, else at most two writes a second; heartbeats and the
        end write what was held back."""
        changed = stage != self._metadata.stage or (total and completed >= total)
        now = time.monotonic()
        self._metadata.stage, self._metadata.unit, self._metadata.message = stage, unit, message
        self._metadata.completed_count, self._metadata.total_count = completed, total
        self._metadata.update_time.GetCurrentTime()
        if changed or now - self._written_s >= PROGRESS_S:
            self._written_s = now
            await self.write(metadata=self.metadata_bytes())
            failpoint("worker.after_progress")

    async def note(self, **values: Any) -> None:
        """Remembers JSON values for this and later attempts."""
        self.notes.update(values)
        await self.write(notes=json.dumps(self.notes))
        failpoint("worker.after_note")

    async def show(self, resource: Message) -> None:
        """What the resource is by now, before it is finished: written together with a look at the fence."""

        def show(connection: sa.Connection) -> None:
            self.write_in(connection)
            self._operations.store_of(self.target).replace_in(connection, resource)

        await self._operations.database.run(show)

    async def child(self, operation_name: str) -> None:
        """Remembers an operation that this one waits for."""
        children = self.notes.setdefault("children", [])
        if operation_name not in children:
            children.append(operation_name)
            await self.note()

    @property
    def created_s(self) -> float:
        """When the operation was created, in seconds since the epoch."""
        return self._metadata.create_time.ToNanoseconds() / 1e9

    def metadata_bytes(self) -> bytes:
        return self._metadata.SerializeToString()

    async def write(self, **values: Any) -> None:
        await self._operations.database.run(lambda connection: self.write_in(connection, **values))

    def write_in(self, connection: sa.Connection, **values: Any) -> None:
        changed = connection.execute(
            table.update()
            .where(table.c.name == self.name, table.c.fence == self.fence, table.c.state == RUNNING)
            .values(updated=self._operations.database.now(), **values)
        )
        if changed.rowcount != 1:
            raise LostLease(self.name)
