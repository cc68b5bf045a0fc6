"""Runs a service's operations: claims them, keeps their leases, writes their ends under the fence.

Anything may die at any point. A lease that runs out is claimed by the next worker with a higher fence; the one that
lost it finds that its writes change no row, and stops.
"""

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import sqlalchemy as sa
import structlog
from google.protobuf.message import Message

from ingrain import errors as sdk_errors
from ingrain.v1 import common_pb2
from servicekit import operations as ops
from servicekit.errors import DomainError, Unavailable
from servicekit.failpoints import failpoint
from servicekit.interceptors import to_status
from servicekit.operations import Operations
from servicekit.settings import ServiceSettings
from servicekit.tables import operation as table

log = structlog.get_logger()
Handler = Callable[["Task", Any], Awaitable[Message]]
MOST_FAILURES = 3  # attempts that ended in a transient error
MOST_ATTEMPTS = 10  # claims in all: an operation that kills its process every time must end too
POLL_S = 0.5
PROGRESS_S = 0.5


class LostLease(Exception):
    """Another worker has this operation; nothing more may be written."""


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
        """Shown to whoever watches; at most two writes a second, a change of stage always."""
        changed = stage != self._metadata.stage or (total and completed >= total)
        now = time.monotonic()
        self._metadata.stage, self._metadata.unit, self._metadata.message = stage, unit, message
        self._metadata.completed_count, self._metadata.total_count = completed, total
        self._metadata.update_time.GetCurrentTime()
        if changed or now - self._written_s >= PROGRESS_S:
            self._written_s = now
            await self.write(metadata=self._metadata.SerializeToString())

    async def note(self, **values: Any) -> None:
        """Remembers JSON values for this and later attempts."""
        self.notes.update(values)
        await self.write(notes=json.dumps(self.notes))
        failpoint("worker.after_note")

    async def child(self, operation_name: str) -> None:
        """Remembers an operation that this one waits for."""
        children = self.notes.setdefault("children", [])
        if operation_name not in children:
            children.append(operation_name)
            await self.note()

    async def write(self, **values: Any) -> None:
        await self._operations.database.run(lambda connection: self.write_in(connection, **values))

    def write_in(self, connection: sa.Connection, **values: Any) -> None:
        changed = connection.execute(
            table.update()
            .where(table.c.name == self.name, table.c.fence == self.fence, table.c.state == ops.RUNNING)
            .values(updated=self._operations.database.now(), **values)
        )
        if changed.rowcount != 1:
            raise LostLease(self.name)


class Worker:
    """`handlers`: verb -> (request type, handler). `limits`: verb -> operations of it at once in this process."""

    def __init__(
        self,
        operations: Operations,
        handlers: Mapping[str, tuple[type[Message], Handler]],
        settings: ServiceSettings,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.operations = operations
        self.database = operations.database
        self.handlers = handlers
        self.settings = settings
        self.limits = limits or {}
        self.id = secrets.token_hex(8)
        self._running: dict[asyncio.Task[None], Task] = {}

    async def run(self) -> None:
        """Until cancelled; then hands back what it holds."""
        try:
            while True:
                self.operations.created.clear()
                while len(self._running) < self.settings.worker_concurrency and await self._claim_one():
                    pass
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.operations.created.wait(), POLL_S)
        finally:
            await self._hand_back()

    async def _claim_one(self) -> bool:
        verbs = [verb for verb in self.handlers if self._count(verb) < self.limits.get(verb, 1 << 30)]
        row = await self.database.run(lambda connection: self._claim_in(connection, verbs))
        if row is None:
            return False
        failpoint("worker.after_claim")
        task = Task(self.operations, row)
        attempt = asyncio.create_task(self._attempt(task, row), name=row.name)
        self._running[attempt] = task
        attempt.add_done_callback(self._ended)
        return True

    def _count(self, verb: str) -> int:
        return sum(task.verb == verb for task in self._running.values())

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._running.pop(attempt, None)
        self.operations.created.set()
        if not attempt.cancelled() and (error := attempt.exception()):
            log.error("attempt_broke", operation=attempt.get_name(), error=repr(error))

    def _claim_in(self, connection: sa.Connection, verbs: list[str]) -> sa.Row[Any] | None:
        now = self.database.now()
        free = sa.or_(
            sa.and_(table.c.state == ops.PENDING, table.c.not_before <= now),
            sa.and_(table.c.state == ops.RUNNING, table.c.lease_until < now),
        )
        oldest = (
            sa.select(table.c.name).where(free, table.c.verb.in_(verbs)).order_by(table.c.sequence).limit(1)
        )
        if not self.database.is_sqlite:
            oldest = oldest.with_for_update(skip_locked=True)
        name = connection.execute(oldest).scalar_one_or_none()
        if name is None:
            return None
        connection.execute(
            table.update()
            .where(table.c.name == name)
            .values(
                state=ops.RUNNING,
                owner=self.id,
                lease_until=now + self.settings.lease_s,
                fence=table.c.fence + 1,
                attempts=table.c.attempts + 1,
                updated=now,
            )
        )
        return self.operations.row_in(connection, name)

    async def _attempt(self, task: Task, row: sa.Row[Any]) -> None:
        request_type, handler = self.handlers[row.verb]
        if row.cancel_requested:
            await self._finish(task, ops.CANCELLED, error=ops.cancelled_status())
            return
        if row.attempts > MOST_ATTEMPTS:
            text = f"gave up after {MOST_ATTEMPTS} attempts that ended without an answer; {row.causes or 'no cause was left'}"
            await self._finish(task, ops.FAILED, error=to_status(DomainError("TOO_MANY_ATTEMPTS", text)))
            return
        work = asyncio.ensure_future(handler(task, request_type.FromString(row.request)))
        heart = asyncio.create_task(self._beat(task, work))
        try:
            resource = await work
            failpoint("worker.before_finish")
            await self._finish(task, ops.SUCCEEDED, resource)
            failpoint("worker.after_finish")
        except asyncio.CancelledError:
            await self._stopped(task, work)
        except LostLease:
            log.warning("lease_lost", operation=task.name)
        except Exception as error:
            await self._failed(task, row, error)
        finally:
            heart.cancel()

    async def _beat(self, task: Task, work: asyncio.Future[Message]) -> None:
        """Keeps the lease, at a third of it; learns of cancellation, at most a second late."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, self.settings.lease_s / 3))
            renew = time.monotonic() - renewed >= self.settings.lease_s / 3
            try:
                cancel = await self.database.run(
                    lambda connection, renew=renew: self._beat_in(connection, task, renew)
                )
            except LostLease:
                task.stopping = "lost"
                work.cancel()
                return
            except sa.exc.OperationalError as error:  # the database may come back within the lease
                log.warning("heartbeat_failed", operation=task.name, error=repr(error))
                if time.monotonic() - renewed > self.settings.lease_s:
                    task.stopping = "lost"
                    work.cancel()
                    return
                continue
            if renew:
                renewed = time.monotonic()
            if cancel:
                task.stopping = "cancelled"
                work.cancel()
                return

    def _beat_in(self, connection: sa.Connection, task: Task, renew: bool) -> bool:
        if renew:
            task.write_in(connection, lease_until=self.database.now() + self.settings.lease_s)
        row = self.operations.row_in(connection, task.name)
        if row.fence != task.fence or row.state != ops.RUNNING:
            raise LostLease(task.name)
        return bool(row.cancel_requested)

    async def _finish(
        self, task: Task, state: str, resource: Message | None = None, error: Any = None
    ) -> None:
        def finish(connection: sa.Connection) -> None:
            task.write_in(connection)  # the fence
            row = self.operations.row_in(connection, task.name)
            self.operations.finish_in(connection, row, state, resource, error)

        await self.database.run(finish)
        log.info("operation_ended", operation=task.name, verb=task.verb, state=state, attempt=task.attempt)

    async def _stopped(self, task: Task, work: asyncio.Future[Message]) -> None:
        """The handler was cancelled: by request, because the lease is gone, or because this process drains."""
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
        with contextlib.suppress(LostLease):
            if task.stopping == "cancelled":
                await self._finish(task, ops.CANCELLED, error=ops.cancelled_status())
            elif task.stopping != "lost":
                await task.write(state=ops.PENDING, owner=None, lease_until=None, attempts=task.attempt - 1)

    async def _failed(self, task: Task, row: sa.Row[Any], error: Exception) -> None:
        failures = row.failures + 1
        permanent = is_permanent(error)
        log.warning(
            "attempt_failed", operation=task.name, attempt=task.attempt, permanent=permanent, exc_info=error
        )
        with contextlib.suppress(LostLease):
            if permanent or failures >= MOST_FAILURES:
                await self._finish(task, ops.FAILED, error=to_status(error))
                return
            wait_s = random.uniform(0.0, min(30.0, 0.5 * 4.0**failures))
            await task.write(
                state=ops.PENDING,
                owner=None,
                lease_until=None,
                failures=failures,
                causes=(row.causes + f" attempt {task.attempt}: {error!r};")[-4000:],
                not_before=self.database.now() + wait_s,
            )

    async def _hand_back(self) -> None:
        attempts = list(self._running)
        for attempt, task in list(self._running.items()):
            task.stopping = task.stopping or "drained"
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=self.settings.drain_s)


def is_permanent(error: Exception) -> bool:
    """Errors of the request or of the data do not go away; unreachable neighbours and surprises may."""
    if isinstance(error, Unavailable):
        return False
    if isinstance(error, sdk_errors.OperationFailed):
        return True
    if isinstance(error, sdk_errors.IngrainError):
        return not isinstance(error, sdk_errors.Unavailable | sdk_errors.DeadlineExceeded)
    return isinstance(error, DomainError)
