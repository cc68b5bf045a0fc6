"""What workers count of operations, over SQLite and PostgreSQL alike."""

import asyncio
from typing import Any

import sqlalchemy as sa

from ingrain.v1 import trainer_pb2 as pb
from servicekit import metrics
from servicekit.backlog import STATES, Backlog
from servicekit.tables import operation as table
from servicekit.task import LostLease, Task
from tests.contract.conftest import Service

VERB = "ImportModel"


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, {"verb": VERB, **labels}) or 0.0


COUNTED = {
    "attempts": ("ingrain_operation_attempts_total", {}),
    "takeovers": ("ingrain_operation_takeovers_total", {}),
    "lost": ("ingrain_operation_leases_lost_total", {}),
    "waited": ("ingrain_operation_queue_seconds_count", {}),
    "succeeded": ("ingrain_operation_duration_seconds_count", {"state": "SUCCEEDED"}),
    "cancelled": ("ingrain_operation_duration_seconds_count", {"state": "CANCELLED"}),
}


def counts() -> dict[str, float]:
    return {key: value(name, **labels) for key, (name, labels) in COUNTED.items()}


def since(before: dict[str, float]) -> dict[str, float]:
    return {key: now - before[key] for key, now in counts().items() if now != before[key]}


async def change(service: Service, name: str, **values: Any) -> None:
    await service.database.run(
        lambda c: c.execute(table.update().where(table.c.name == name).values(**values))
    )


async def ended(running: "asyncio.Task[None]") -> None:
    running.cancel()
    await asyncio.wait([running], timeout=10)


async def test_attempts_and_ends_are_counted(service: Service) -> None:
    before = counts()
    name = await service.start()
    running = asyncio.create_task(service.worker(service.finished).run())
    assert (await service.operations.wait(name, 20)).done
    await ended(running)
    assert since(before) == {"attempts": 1, "waited": 1, "succeeded": 1}
    left = await service.start("left")
    await service.operations.cancel(left)
    assert since(before) == {"attempts": 1, "waited": 1, "succeeded": 1, "cancelled": 1}


async def test_who_takes_over_and_who_lost_are_counted(service: Service) -> None:
    before = counts()
    name = await service.start()
    await change(service, name, state="RUNNING", owner="dead", lease_until=1.0)

    async def loses(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        if task.attempt == 1:
            await change(service, name, fence=task.fence + 1, lease_until=1.0)  # as if another had claimed it
            raise LostLease(task.name)
        return await service.models.get(task.target)

    running = asyncio.create_task(service.worker(loses).run())
    assert (await service.operations.wait(name, 20)).done
    await ended(running)
    assert since(before) == {"attempts": 2, "takeovers": 2, "lost": 1, "succeeded": 1}


async def test_backlog_tells_what_waits_and_for_how_long(service: Service) -> None:
    names = [await service.start(f"m{number}") for number in range(6)]
    now = await service.database.run(lambda c: c.execute(sa.select(service.database.now())).scalar_one())
    await change(service, names[0], updated=now - 500)
    await change(service, names[1], not_before=now + 1000, updated=now - 5000)
    await change(service, names[2], not_before=now - 100, updated=now - 5000)  # deferred until then
    await change(service, names[3], state="RUNNING", lease_until=now + 1000)
    await change(service, names[4], state="RUNNING", lease_until=now - 1000)
    await change(service, names[5], state="SUCCEEDED")
    backlog = Backlog(service.operations, [VERB, "CreateModel"])
    await backlog.look()
    told = {state: value("ingrain_operations", state=state) for state in STATES}
    assert told == {"queued": 2, "deferred": 1, "running": 1, "abandoned": 1}
    assert 499 < value("ingrain_operation_oldest_queued_seconds") < 700
    assert (
        metrics.REGISTRY.get_sample_value("ingrain_operations", {"verb": "CreateModel", "state": "queued"})
        == 0
    )
    await change(service, names[0], state="SUCCEEDED")
    await backlog.look()  # within LOOK_S nothing is asked
    assert value("ingrain_operations", state="queued") == 2
    await Backlog(service.operations, [VERB]).look()
    assert value("ingrain_operations", state="queued") == 1
