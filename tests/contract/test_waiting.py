"""Operations that wait behind others of their verb say so, and for what, on two databases."""

import asyncio
from typing import Any

import pytest

from ingrain.v1 import common_pb2
from ingrain.v1 import trainer_pb2 as pb
from servicekit.settings import ServiceSettings
from servicekit.waiting import tell_waiting_in, waits_for
from servicekit.worker import Task, Worker

Service = Any  # of conftest.py


async def metadata_of(service: Service, name: str) -> common_pb2.OperationMetadata:
    metadata = common_pb2.OperationMetadata()
    assert (await service.operations.get(name)).metadata.Unpack(metadata)
    return metadata


async def stage_of(service: Service, name: str) -> tuple[str, str]:
    metadata = await metadata_of(service, name)
    return metadata.stage, metadata.message


async def until(service: Service, name: str, stage: str, message: str) -> None:
    async with asyncio.timeout(10):
        while await stage_of(service, name) != (stage, message):
            await asyncio.sleep(0.05)


async def test_who_waits_says_for_what_until_it_is_its_turn(service: Service) -> None:
    ends = [asyncio.Event() for _ in range(3)]

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        await task.progress("importing")
        await ends[int(task.target[-1])].wait()
        return await service.models.get(task.target)

    names = [await service.start(f"m-{n}") for n in range(3)]
    worker = Worker(
        service.operations,
        {"ImportModel": (pb.ImportModelRequest, handler)},
        ServiceSettings(),
        limits={"ImportModel": 1},
    )
    running = asyncio.create_task(worker.run())
    first = f"waits for its turn behind {names[0]}"
    await until(service, names[0], "importing", "")
    await until(service, names[1], "waiting", first)
    await until(service, names[2], "waiting", f"{first} and 1 more")
    waiting = await metadata_of(service, names[1])
    assert waiting.update_time.ToNanoseconds() >= waiting.create_time.ToNanoseconds()
    assert (waiting.target, waiting.verb) == ("projects/p/models/m-1", "ImportModel")

    ends[0].set()
    await until(service, names[1], "importing", "")
    await until(service, names[2], "waiting", f"waits for its turn behind {names[1]}")
    ends[1].set()
    ends[2].set()
    async with asyncio.timeout(10):
        while not (await service.operations.get(names[2])).done:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running], timeout=10)


async def test_nothing_is_written_twice_nor_over_what_is_at_work(service: Service) -> None:
    name = await service.start("m-0")

    async def tell() -> None:
        await service.database.run(
            lambda connection: tell_waiting_in(connection, ["ImportModel"], service.database.now())
        )

    await tell()
    told = await metadata_of(service, name)
    await tell()
    assert await metadata_of(service, name) == told

    claimed = asyncio.Event()

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        await task.progress("importing")
        claimed.set()
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(service.worker(handler).run())
    await asyncio.wait_for(claimed.wait(), 10)
    await tell()
    assert await stage_of(service, name) == ("importing", "")
    running.cancel()
    await asyncio.wait([running], timeout=10)


@pytest.mark.parametrize(
    ("at_work", "place", "told"),
    [
        (["a"], 0, "waits for its turn behind a"),
        (["a", "b"], 2, "waits for its turn behind a, b and 2 more"),
        ([], 1, "waits for its turn behind work of another project and 1 more"),
    ],
)
def test_other_projects_are_not_named(at_work: list[str], place: int, told: str) -> None:
    assert waits_for(at_work, place) == told
