"""Runs a service's operations: claims them, keeps their leases, writes their ends under the fence.

Anything may die at any point. A lease that runs out is claimed by the next worker with a higher fence; the one that
lost it finds that its writes change no row, and stops.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from google.protobuf.message import Message

from ingrain import errors as sdk_errors
from servicekit import identity, metrics
from servicekit import operation_protos as ops
from servicekit.backlog import Backlog
from servicekit.errors import DomainError, Exhausted, Unavailable
from servicekit.failpoints import failpoint
from servicekit.operations import Operations, happens
from servicekit.settings import ServiceSettings
from servicekit.statuses import to_status
from servicekit.tables import operation as table
from servicekit.task import Deferred, LostLease, Task
from servicekit.waiting import tell_waiting_in

__all__ = ["Deferred", "Handler", "LostLease", "Task", "Worker"]

log = structlog.get_logger()
Handler = Callable[[Task, Any], Awaitable[Message]]
MOST_FAILURES = 3  # attempts that ended in a transient error
MOST_ATTEMPTS = 10  # claims in all: an operation that kills its process every time must end too
# No failure of the operation's: its attempts wait some minutes in all, as they would for the database.
STORAGE_AWAY = "STORAGE_UNREACHABLE"
T = TypeVar("T")
POLL_S = 0.5
OUTAGE_PAUSE_S = 1.0  # between two tries while the database is away


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
        self._backlog = Backlog(operations, handlers) if settings.metrics_port >= 0 else None
        metrics.expect_operations(handlers)

    async def run(self) -> None:
        """Until cancelled; then hands back what it holds. A database that is away is waited for."""
        try:
            while True:
                try:
                    self.operations.created.clear()
                    while len(self._running) < self.settings.worker_concurrency and await self._claim_one():
                        pass
                    await self._tell_waiting()
                    if self._backlog:
                        await self._backlog.look()
                    await happens(self.operations.created, POLL_S)
                except Exhausted as error:
                    log.warning("claim_failed", error=repr(error))
                    await asyncio.sleep(OUTAGE_PAUSE_S)
        finally:
            self.operations.draining.set()
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

    async def _tell_waiting(self) -> None:
        full = [verb for verb, limit in self.limits.items() if self._count(verb) >= limit]
        if full:
            await self.database.run(lambda connection: tell_waiting_in(connection, full, self.database.now()))

    def _count(self, verb: str) -> int:
        return sum(task.verb == verb for task in self._running.values())

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._running.pop(attempt, None)
        self.operations.created.set()
        if not attempt.cancelled() and (error := attempt.exception()):
            log.error("attempt_broke", operation=attempt.get_name(), exc_info=error)

    def _claim_in(self, connection: sa.Connection, verbs: list[str]) -> sa.Row[Any] | None:
        now = self.database.now()
        free = sa.or_(
            sa.and_(table.c.state == ops.PENDING, table.c.not_before <= now),
            sa.and_(table.c.state == ops.RUNNING, table.c.lease_until < now),
        )
        oldest = table.select().where(free, table.c.verb.in_(verbs)).order_by(table.c.sequence).limit(1)
        if not self.database.is_sqlite:
            oldest = oldest.with_for_update(skip_locked=True)
        row = connection.execute(oldest).one_or_none()
        if row is None:
            return None
        abandoned = f" attempt {row.attempts}: its worker went away;" if row.state == ops.RUNNING else ""
        connection.execute(
            table.update()
            .where(table.c.name == row.name)
            .values(
                state=ops.RUNNING,
                owner=self.id,
                lease_until=now + self.settings.lease_s,
                fence=row.fence + 1,
                attempts=row.attempts + 1,
                causes=row.causes + abandoned,
                updated=now,
            )
        )
        failpoint("worker.before_claim_commit")
        claimed = self.operations.row_in(connection, row.name)
        waited_s = claimed.updated - max(row.updated, row.not_before)
        metrics.operation_claimed(row.verb, waited_s, taken_over=row.state == ops.RUNNING)
        return claimed

    async def _attempt(self, task: Task, row: sa.Row[Any]) -> None:
        # Whatever a handler asks for, it asks for the operation's project.
        identity.set_caller(identity.Caller("service", self.id, task.project))
        structlog.contextvars.bind_contextvars(operation=task.name)
        request_type, handler = self.handlers[row.verb]
        if row.cancel_requested:
            await self._finish(task, ops.CANCELLED, error=ops.cancelled_status())
            return
        if row.attempts > MOST_ATTEMPTS:
            text = f"gave up after {MOST_ATTEMPTS} attempts:{row.causes}"
            await self._finish(task, ops.FAILED, error=to_status(DomainError("TOO_MANY_ATTEMPTS", text)))
            return
        work = asyncio.ensure_future(handler(task, request_type.FromString(row.request)))
        heart = asyncio.create_task(self._beat(task, work))
        try:
            resource = await work
            failpoint("worker.before_finish")
            await self._finish(task, ops.SUCCEEDED, resource)
            failpoint("worker.after_finish")
        except LostLease:
            metrics.LEASES_LOST.labels(task.verb).inc()
            log.warning("lease_lost")
        except Deferred as pause:
            later = self.database.now() + pause.seconds
            back = {"state": ops.PENDING, "owner": None, "lease_until": None, "attempts": task.attempt - 1}
            await self._write_out(lambda c: task.write_in(c, not_before=later, **back))
        except asyncio.CancelledError as error:
            if task.stopping:
                await self._stopped(task, work)
            else:  # something that the handler awaited was cancelled, a closed channel's call for one
                await self._failed(task, row, RuntimeError(f"cancelled from within: {error!r}"))
        except Exception as error:
            if task.stopping:
                log.warning("stopping_failed", stopping=task.stopping, exc_info=error)
                await self._stopped(task, work)
            else:
                await self._failed(task, row, error)
        finally:
            heart.cancel()

    async def _beat(self, task: Task, work: asyncio.Future[Message]) -> None:
        """Keeps the lease, at a third of it; learns of cancellation, at most a second late."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, self.settings.lease_s / 3))
            begun = time.monotonic()
            renew = begun - renewed >= self.settings.lease_s / 3
            try:
                cancel = await self.database.run(partial(self._beat_in, task=task, renew=renew))
            except LostLease:
                reason = "lost"
            except Exhausted as error:  # the database may come back within the lease
                log.warning("heartbeat_failed", error=repr(error))
                reason = "lost" if time.monotonic() - renewed > self.settings.lease_s else ""
            else:
                reason = "cancelled" if cancel else ""
                renewed = begun if renew else renewed
            if reason and not task.stopping:  # a handler that cleans up is not disturbed again
                task.stopping = reason
                work.cancel()
            if reason == "lost":
                metrics.LEASES_LOST.labels(task.verb).inc()
                return

    def _beat_in(self, connection: sa.Connection, task: Task, renew: bool) -> bool:
        if renew:
            lease_until = self.database.now() + self.settings.lease_s
            task.write_in(connection, lease_until=lease_until, metadata=task.metadata_bytes())
        row = self.operations.row_in(connection, task.name)
        if row.fence != task.fence or row.state != ops.RUNNING:
            raise LostLease(task.name)
        deleted = self.operations.store_of(task.target).is_deleted_in(connection, task.target)
        return bool(row.cancel_requested) or deleted

    async def _finish(
        self, task: Task, state: str, resource: Message | None = None, error: Any = None
    ) -> None:
        def finish(connection: sa.Connection) -> float:
            task.write_in(connection, metadata=task.metadata_bytes())  # the fence
            row = self.operations.row_in(connection, task.name)
            self.operations.finish_in(connection, row, state, resource, error)
            failpoint("worker.before_finish_commit")
            return float(self.operations.row_in(connection, task.name).updated - row.created)

        metrics.operation_ended(task.verb, state, await self._write_out(finish))
        log.info("operation_ended", verb=task.verb, state=state, attempt=task.attempt)

    async def _write_out(self, write: Callable[[sa.Connection], T]) -> T:
        """Work that took hours is not thrown away because the database is away for a minute."""
        deadline = time.monotonic() + self.settings.lease_s
        while True:
            try:
                return await self.database.run(write)
            except Exhausted:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _stopped(self, task: Task, work: asyncio.Future[Message]) -> None:
        """The handler was cancelled: by request, because the lease is gone, or because this process drains."""
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
        with contextlib.suppress(LostLease):
            if task.stopping == "cancelled":
                await self._finish(task, ops.CANCELLED, error=ops.cancelled_status())
            elif task.stopping == "drained":
                await task.write(state=ops.PENDING, owner=None, lease_until=None, attempts=task.attempt - 1)

    async def _failed(self, task: Task, row: sa.Row[Any], error: Exception) -> None:
        away = isinstance(error, Unavailable) and error.reason == STORAGE_AWAY
        failures = row.failures + (not away)
        permanent = is_permanent(error)
        log.warning("attempt_failed", attempt=task.attempt, permanent=permanent, exc_info=error)
        causes = (row.causes + f" attempt {task.attempt}: {cause_of(error)};")[-4000:]
        with contextlib.suppress(LostLease):
            if permanent or failures >= MOST_FAILURES or (away and task.attempt >= MOST_ATTEMPTS):
                status = to_status(error)
                if not permanent:
                    status.message += f" (gave up after {task.attempt} attempts:{causes})"
                await self._finish(task, ops.FAILED, error=status)
                return
            wait_s = random.uniform(0.0, min(30.0, 0.5 * 4.0**failures))
            if away:
                wait_s = random.uniform(0.5, 1.0) * min(60.0, 0.5 * 4.0**task.attempt)
            pending = {"state": ops.PENDING, "owner": None, "lease_until": None}
            not_before = self.database.now() + wait_s
            await self._write_out(
                lambda connection: task.write_in(
                    connection, failures=failures, causes=causes, not_before=not_before, **pending
                )
            )
            failpoint("worker.after_failure")

    async def _hand_back(self) -> None:
        attempts = list(self._running)
        for attempt, task in list(self._running.items()):
            task.stopping = task.stopping or "drained"
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=self.settings.drain_s)
        # A claim may have been under way when this worker was told to stop; what still runs keeps its lease.
        held = [task.name for task in self._running.values()]
        unheld = sa.and_(table.c.owner == self.id, table.c.state == ops.RUNNING, table.c.name.not_in(held))
        back = (
            table.update().where(unheld).values(state=ops.PENDING, attempts=table.c.attempts - 1, owner=None)
        )
        with contextlib.suppress(Exhausted):
            await self.database.run(lambda connection: connection.execute(back))


def is_permanent(error: Exception) -> bool:
    """Errors of the request or of the data do not go away; unreachable neighbours, waits and surprises may."""
    if isinstance(error, sdk_errors.OperationFailed):
        return True
    if isinstance(
        error, Unavailable | sdk_errors.Unavailable | sdk_errors.DeadlineExceeded | sdk_errors.Internal
    ):
        return False
    if isinstance(error, Exhausted | sdk_errors.Exhausted) and error.retry_after_s:
        return False
    return isinstance(error, DomainError | sdk_errors.IngrainError)


def cause_of(error: Exception) -> str:
    """For who reads the operation; what a surprise says may be nobody's business and stays in the log."""
    if isinstance(error, DomainError | sdk_errors.IngrainError):
        return f"{error.reason or error.code.name}: {error.message}"
    return f"unexpected {type(error).__name__}"
