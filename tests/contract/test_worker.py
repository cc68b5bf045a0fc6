"""What may go wrong around a worker, on two databases: deletions, drains, poison, outages, races."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from google.rpc import code_pb2

from ingrain.v1 import common_pb2
from ingrain.v1 import trainer_pb2 as pb
from servicekit import identity, worker
from servicekit.errors import Unavailable
from servicekit.tables import operation as table
from servicekit.worker import Deferred, Task

Service = Any  # of conftest.py


async def stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done


async def row_of(service: Service, name: str) -> Any:
    return await service.database.run(lambda connection: service.operations.row_in(connection, name))


def metadata_of(operation: Any) -> common_pb2.OperationMetadata:
    metadata = common_pb2.OperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancelled_worker_ends_whatever_else_happens_at_that_moment(
    service: Service, ticks: int
) -> None:
    running = asyncio.create_task(service.worker(service.finished).run())
    await asyncio.sleep(0.1)
    service.operations.created.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    await stopped(running)


async def test_deleting_a_resource_stops_the_work_on_it(service: Service) -> None:
    seen: list[str] = []
    at_work = asyncio.Event()

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(task.stopping)
        raise AssertionError

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    await asyncio.wait_for(at_work.wait(), 20)
    await service.models.delete("projects/p/models/m")
    assert (await service.operations.wait(name, 10)).error.code == code_pb2.CANCELLED
    assert seen == ["cancelled"]
    await stopped(running)


async def test_a_cancellation_from_within_is_a_failed_attempt(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call on a channel that closes is cancelled; that must neither end the operation nor repeat it for ever."""
    monkeypatch.setattr(worker.random, "uniform", lambda low, high: 0.0)
    attempts: list[int] = []

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        attempts.append(task.attempt)
        raise asyncio.CancelledError

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    ended = await service.operations.wait(name, 20)
    assert ended.error.code == code_pb2.INTERNAL
    assert attempts == [1, 2, 3]
    await stopped(running)


async def test_a_cleanup_that_fails_still_ends_as_cancelled(service: Service) -> None:
    at_work = asyncio.Event()

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        at_work.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("the job could not be stopped") from None
        raise AssertionError

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    await asyncio.wait_for(at_work.wait(), 20)
    await service.operations.cancel(name)
    assert metadata_of(await service.operations.get(name)).cancel_requested
    ended = await service.operations.wait(name, 10)
    assert ended.error.code == code_pb2.CANCELLED
    assert metadata_of(ended).cancel_requested
    await stopped(running)


async def test_a_long_cleanup_is_neither_disturbed_nor_taken_over(service: Service, other: Service) -> None:
    """The lease of 0.6 s is kept while the handler needs 2 s to stop what it started."""
    cleaned: list[str] = []
    at_work = asyncio.Event()

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(2)
            cleaned.append(task.stopping)
        raise AssertionError

    name = await service.start()
    workers = [asyncio.create_task(service.worker(handler, lease_s=0.6).run())]
    await asyncio.wait_for(at_work.wait(), 20)
    workers.append(asyncio.create_task(other.worker(other.finished, lease_s=0.6).run()))
    await service.operations.cancel(name)
    assert (await service.operations.wait(name, 10)).error.code == code_pb2.CANCELLED
    assert cleaned == ["cancelled"]
    assert (await row_of(service, name)).fence == 1
    for running in workers:
        await stopped(running)


async def test_what_kills_its_worker_every_time_ends_too(service: Service) -> None:
    name = await service.start()
    dead = table.update().values(
        state="RUNNING",
        attempts=worker.MOST_ATTEMPTS,
        fence=worker.MOST_ATTEMPTS,
        lease_until=0.0,
        owner="dead",
    )
    await service.database.run(lambda connection: connection.execute(dead))
    running = asyncio.create_task(service.worker(service.finished).run())
    ended = await service.operations.wait(name, 10)
    assert f"gave up after {worker.MOST_ATTEMPTS} attempts" in ended.error.message
    assert "its worker went away" in ended.error.message
    assert (await service.models.get("projects/p/models/m")).state == common_pb2.FAILED
    await stopped(running)


async def test_all_causes_are_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.random, "uniform", lambda low, high: 0.0)

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        raise Unavailable("AWAY", f"neighbour {task.attempt} is away")

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    message = (await service.operations.wait(name, 20)).error.message
    assert all(f"neighbour {attempt} is away" in message for attempt in (1, 2, 3))
    await stopped(running)


@pytest.mark.parametrize(
    ("outages", "passes"), [(worker.MOST_ATTEMPTS - 1, True), (worker.MOST_ATTEMPTS, False)]
)
async def test_an_outage_of_the_storage_is_no_failure_of_the_operation(
    service: Service, monkeypatch: pytest.MonkeyPatch, outages: int, passes: bool
) -> None:
    monkeypatch.setattr(worker.random, "uniform", lambda low, high: 0.0)

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        if task.attempt <= outages:
            raise Unavailable("STORAGE_UNREACHABLE", "the storage is away")
        return await service.finished(task, request)

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    ended = await service.operations.wait(name, 60)
    assert ended.done
    assert ended.HasField("error") is not passes
    assert (await row_of(service, name)).attempts == worker.MOST_ATTEMPTS
    await stopped(running)


async def test_progress_that_was_held_back_is_written_in_the_end(service: Service) -> None:
    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        for step in range(1, 8):
            await task.progress("reading", step, 10, "rows", f"row {step}")
        return await service.models.get(task.target)

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    metadata = metadata_of(await service.operations.wait(name, 10))
    assert (metadata.completed_count, metadata.total_count, metadata.message) == (7, 10, "row 7")
    await stopped(running)


async def test_a_claim_under_way_is_given_back(service: Service) -> None:
    """The worker is told to stop while the database claims for it: nobody would hold the row for a lease."""
    name = await service.start()
    idle = service.worker(service.finished, lease_s=600, concurrency=0)
    running = asyncio.create_task(idle.run())
    await service.database.run(lambda connection: idle._claim_in(connection, ["ImportModel"]))
    assert (await row_of(service, name)).state == "RUNNING"
    await stopped(running)
    row = await row_of(service, name)
    assert (row.state, row.attempts, row.owner) == ("PENDING", 0, None)


async def test_handlers_act_for_their_project(service: Service) -> None:
    seen: list[identity.Caller] = []

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        seen.append(identity.caller())
        return await service.models.get(task.target)

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    await service.operations.wait(name, 10)
    assert [(caller.kind, caller.project) for caller in seen] == [("service", "projects/p")]
    await stopped(running)


async def test_cancel_and_claim_at_once_leave_nothing_between(service: Service, other: Service) -> None:
    names = [await service.start(id=f"m{i}") for i in range(20)]
    running = asyncio.create_task(other.worker(other.finished, concurrency=20).run())
    await asyncio.gather(*(service.operations.cancel(name) for name in names))
    for name in names:
        ended = await service.operations.wait(name, 20)
        model = await service.models.get(name.rpartition("/operations/")[0])
        assert ended.done
        assert (model.state == common_pb2.ACTIVE) is (not ended.HasField("error"))
    await stopped(running)


async def test_an_outage_of_the_database_costs_no_work(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is away when the handler has finished, and while the worker looks for more."""
    monkeypatch.setattr(worker, "OUTAGE_PAUSE_S", 0.05)
    transact, handled, refused = service.database._transact, [], []

    def away(fn: Any) -> Any:
        if len(refused) < 20:
            refused.append(1)
            raise Unavailable("DATABASE_UNAVAILABLE", "away", retry_after_s=1.0)
        return transact(fn)

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        model = await service.models.get(task.target)
        handled.append(task.attempt)
        monkeypatch.setattr(service.database, "_transact", away)
        return model

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    while len(refused) < 20:
        await asyncio.sleep(0.05)
    ended = await service.operations.wait(name, 20)
    assert ended.done
    assert not ended.HasField("error")
    assert handled == [1]
    await stopped(running)


async def test_a_database_that_does_not_answer_is_unavailable(service: Service) -> None:
    def broken(connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("select", {}, Exception("server closed the connection unexpectedly"))

    with pytest.raises(Unavailable) as caught:
        await service.database.run(broken)
    assert caught.value.reason == "DATABASE_UNAVAILABLE"


async def test_what_is_deferred_comes_again_and_counts_as_no_attempt(service: Service) -> None:
    """Many more times than an operation may be attempted; at once where it is woken."""
    seen: list[int] = []

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        seen.append(task.attempt)
        if len(seen) <= 12:
            raise Deferred(0.0 if len(seen) < 12 else 600.0)
        return await service.finished(task, request)

    name = await service.start()
    running = asyncio.create_task(service.worker(handler).run())
    async with asyncio.timeout(20):
        while len(seen) < 12:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    assert seen == [1] * 12
    assert not (await service.operations.get(name)).done
    await service.operations.wake("projects/p/models/m")
    assert (await service.operations.wait(name, 10)).done
    assert seen == [1] * 13
    await stopped(running)
