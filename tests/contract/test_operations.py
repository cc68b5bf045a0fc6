"""One suite, two databases: durable operations in SQLite and PostgreSQL."""

import asyncio
from typing import Any

import pytest

from ingrain.v1 import common_pb2
from ingrain.v1 import trainer_pb2 as pb
from servicekit import worker
from servicekit.errors import AlreadyExists, Invalid, NotFound, Unavailable, WrongState
from servicekit.worker import LostLease, Task

Service = Any  # of conftest.py
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


async def stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_resource_and_operation_begin_and_end_together(service: Service) -> None:
    name = await service.start()
    assert (await service.models.get("projects/p/models/m")).state == common_pb2.CREATING
    running = asyncio.create_task(service.worker(service.finished).run())
    ended = await service.operations.wait(name, 10)
    await stopped(running)
    model = pb.Model()
    assert ended.response.Unpack(model)
    assert (model.name, model.state) == ("projects/p/models/m", common_pb2.ACTIVE)
    assert (await service.models.get(model.name)).state == common_pb2.ACTIVE


async def test_the_same_request_id_is_the_same_operation(service: Service) -> None:
    first = await service.start(request_id=UUID)
    assert await service.start(id="made-up-again", request_id=UUID) == first
    with pytest.raises(Invalid) as caught:
        await service.start(source="hf://other/model", request_id=UUID)
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_a_name_is_taken_once(service: Service) -> None:
    await service.start()
    with pytest.raises(AlreadyExists):
        await service.start()


async def test_racing_creates_make_one(service: Service, other: Service) -> None:
    racing = [(service, other)[i % 2].start(id=f"m{i}", request_id=UUID) for i in range(40)]
    assert len(set(await asyncio.gather(*racing))) == 1
    assert len((await service.models.list("projects/p"))[0]) == 1


async def test_two_workers_never_share_an_operation(service: Service, other: Service) -> None:
    claims: list[str] = []

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        claims.append(task.target)
        await asyncio.sleep(0.01)
        return await service.models.get(task.target)

    names = [await service.start(id=f"m{i}") for i in range(20)]
    workers = [asyncio.create_task(s.worker(handler).run()) for s in (service, other)]
    for name in names:
        assert (await service.operations.wait(name, 20)).done
    for running in workers:
        await stopped(running)
    assert sorted(claims) == sorted(f"projects/p/models/m{i}" for i in range(20))


async def test_a_lease_that_runs_out_is_taken_over_and_the_ghost_writes_nothing(
    service: Service, other: Service
) -> None:
    ghosts: list[Task] = []

    async def hangs(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        ghosts.append(task)
        await asyncio.Event().wait()
        raise AssertionError

    name = await service.start()
    dead = service.worker(hangs, lease_s=0.3)
    dead._beat = lambda task, work: asyncio.Event().wait()  # type: ignore[assignment,method-assign,return-value]
    hanging = asyncio.create_task(dead.run())
    while not ghosts:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    claimed, released = asyncio.Event(), asyncio.Event()

    async def works(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        claimed.set()
        await released.wait()
        return await other.models.get(task.target)

    alive = asyncio.create_task(other.worker(works).run())
    await asyncio.wait_for(claimed.wait(), 10)
    for write in (ghosts[0].note(late=True), ghosts[0].progress("late"), dead._finish(ghosts[0], "FAILED")):
        with pytest.raises(LostLease):
            await write
    released.set()
    ended = await other.operations.wait(name, 10)
    assert ended.done
    assert not ended.HasField("error")
    with pytest.raises(LostLease):
        await ghosts[0].note(late=True)
    await stopped(hanging)
    await stopped(alive)


async def test_cancel_before_and_during_work(service: Service) -> None:
    waiting = await service.start(id="waiting")
    await service.operations.cancel(waiting)
    assert (await service.operations.get(waiting)).error.code == 1
    cleaned: list[str] = []

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(task.stopping)
        raise AssertionError

    name = await service.start(id="running")
    running = asyncio.create_task(service.worker(handler).run())
    while not (await service.operations.get(name)).metadata.value:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    await service.operations.cancel(name)
    assert (await service.operations.wait(name, 10)).error.code == 1
    assert cleaned == ["cancelled"]
    assert (await service.models.get("projects/p/models/running")).state == common_pb2.FAILED
    await stopped(running)


async def test_a_draining_worker_hands_back(service: Service, other: Service) -> None:
    begun = asyncio.Event()

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    name = await service.start()
    draining = asyncio.create_task(service.worker(handler, lease_s=600).run())
    await begun.wait()
    await stopped(draining)
    alive = asyncio.create_task(other.worker(other.finished).run())
    assert (await other.operations.wait(name, 10)).done  # long before the lease of 600 s
    await stopped(alive)


async def test_transient_errors_are_tried_again_and_others_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.random, "uniform", lambda low, high: 0.1 * high)
    attempts: dict[str, int] = {}

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        attempts[request.source_uri] = attempts.get(request.source_uri, 0) + 1
        if request.source_uri == "hf://flaky/once" and attempts[request.source_uri] == 1:
            raise Unavailable("AWAY", "try again")
        if request.source_uri == "hf://wrong/data":
            raise Invalid("WRONG", "row 3 is wrong", field="rows[2]")
        if request.source_uri == "hf://always/broken":
            raise RuntimeError("surprise")
        return await service.models.get(task.target)

    flaky = await service.start("a", "hf://flaky/once")
    wrong = await service.start("b", "hf://wrong/data")
    broken = await service.start("c", "hf://always/broken")
    running = asyncio.create_task(service.worker(handler).run())
    assert not (await service.operations.wait(flaky, 30)).HasField("error")
    assert (await service.operations.wait(wrong, 30)).error.message == "row 3 is wrong"
    assert "internal error" in (await service.operations.wait(broken, 60)).error.message
    assert attempts == {"hf://flaky/once": 2, "hf://wrong/data": 1, "hf://always/broken": 3}
    await stopped(running)


async def test_lists_are_by_collection_and_paged(service: Service) -> None:
    names = [await service.start(id=f"m{i}") for i in range(5)]
    first, token = await service.operations.list("projects/p/models", page_size=3)
    rest, end = await service.operations.list("projects/p/models", page_size=3, page_token=token)
    assert [o.name for o in first + rest] == names[::-1]
    assert end == ""
    assert [o.name for o in (await service.operations.list("projects/p/models/m2"))[0]] == [names[2]]
    assert (await service.operations.list("projects/other/models"))[0] == []
    with pytest.raises(Invalid):
        await service.operations.list("projects/p/models", page_token="nonsense")


async def test_delete_forgets_what_has_ended(service: Service) -> None:
    name = await service.start()
    with pytest.raises(WrongState):
        await service.operations.delete(name)
    await service.operations.cancel(name)
    await service.operations.delete(name)
    with pytest.raises(NotFound):
        await service.operations.get(name)
