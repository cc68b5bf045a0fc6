"""Trainings that are paused, by whoever asked or because their time or their workers ran out, and go on."""

import asyncio
from typing import Any

import pytest

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit import errors
from servicekit.tables import operation as table
from servicekit.worker import Deferred
from services.trainer import exchange, pausing

PROJECT = "projects/p"
TARGET = f"{PROJECT}/models/m"


async def test_a_paused_training_stops_with_its_checkpoint_and_goes_on(desk: Any) -> None:
    """Paused by a caller: the job is told, its checkpoint committed; resumed with more workers, each step keeps its rows."""
    name = await desk.begin(max_steps=9, per_device_train_batch_size=4, max_duration={"seconds": 100})
    task = await desk.claim()
    handler = asyncio.create_task(desk.create(task))
    async with asyncio.timeout(10):
        while not desk.ray.prefixes:
            await asyncio.sleep(0.01)
    prefix = desk.ray.prefixes[0]
    await pausing.pause(desk.models, TARGET)
    async with asyncio.timeout(10):
        while not await desk.exists(exchange.stop_key(prefix)):
            await asyncio.sleep(0.05)
    await desk.left_by_job(prefix, desk.step(1, 100.0), desk.step(2, 130.0), await desk.checkpoint(prefix, 2))
    await exchange.put_json(desk.storage, exchange.stopped_key(prefix), {"reason": "paused", "step": 2})
    with pytest.raises(Deferred):
        await asyncio.wait_for(handler, 10)
    row = await desk.row(name)
    shown = common_pb2.OperationMetadata.FromString(row.metadata)
    assert (shown.stage, shown.message) == (
        "paused", "paused, with the checkpoint of step 2; it goes on when it is resumed",
    )  # fmt: skip
    with pytest.raises(Deferred):
        await desk.create(await desk.claim())

    request = trainer_pb2.ResumeTrainingRequest(name=TARGET, num_workers=3)
    with pytest.raises(
        pausing.Invalid, match="4 packed rows, which 3 workers cannot share evenly; these can: 1, 2, 4"
    ):
        await pausing.resume(desk.models, request)
    request.num_workers = 2
    assert not (await pausing.resume(desk.models, request)).paused
    assert not (await pausing.resume(desk.models, request)).paused, "asked again it does no harm"
    job = await exchange.get_job(desk.storage, await desk.launch(await desk.claim()))
    config = job.training_config()
    assert (config.num_workers, config.per_device_train_batch_size, config.gradient_accumulation_steps) == (
        2,
        2,
        1,
    )
    assert (config.max_duration_s, job.worked_s, job.checkpoint["step"]) == (0.0, 0.0, 2)
    assert (await desk.rows.get(TARGET)).training.num_workers == 2
    with pytest.raises(pausing.WrongState, match="pause it first"):
        await pausing.resume(desk.models, trainer_pb2.ResumeTrainingRequest(name=TARGET, num_workers=1))


async def test_the_time_of_all_attempts_counts_and_pauses_when_it_is_up(desk: Any) -> None:
    await desk.begin(max_steps=9, max_duration={"seconds": 100})
    first = await desk.launch(await desk.claim())
    await desk.left_by_job(first, desk.step(1, 100.0), desk.step(2, 160.0))
    desk.ray.states.clear()
    task = await desk.claim()
    second = await desk.launch(task)
    assert (await exchange.get_job(desk.storage, second)).worked_s == 60.0
    await desk.left_by_job(second, desk.step(1, 200.0), await desk.checkpoint(second, 1))
    await exchange.put_json(desk.storage, exchange.stopped_key(second), {"reason": "budget", "step": 1})
    with pytest.raises(Deferred):
        await desk.running.watched(task, second, 9)
    assert (await desk.rows.get(TARGET)).paused
    request = trainer_pb2.ResumeTrainingRequest(name=TARGET, max_duration={"seconds": 50})
    await pausing.resume(desk.models, request)
    job = await exchange.get_job(desk.storage, await desk.launch(await desk.claim()))
    assert (job.training_config().max_duration_s, job.worked_s) == (50.0, 0.0)


async def test_workers_that_find_no_room_any_more_wait_for_a_word(desk: Any) -> None:
    """Before the first checkpoint it is an error of the request; later the training is paused, and may go on with fewer."""
    told = {"reason": "NO_RAY_RESOURCES", "message": "2 worker(s) need 2 CPU.", "permanent": True}
    await desk.begin(max_steps=9, num_workers=2)
    prefix = await desk.launch(task := await desk.claim())
    await desk.left_by_job(prefix, desk.step(1), await desk.checkpoint(prefix, 1))
    await exchange.put_json(desk.storage, exchange.error_key(prefix), told)
    with pytest.raises(Deferred):
        await desk.running.watched(task, prefix, 9)
    assert (await desk.rows.get(TARGET)).paused
    await pausing.resume(desk.models, trainer_pb2.ResumeTrainingRequest(name=TARGET, num_workers=1))
    job = await exchange.get_job(desk.storage, await desk.launch(await desk.claim()))
    assert (job.training_config().num_workers, job.training_config().rows_per_step) == (1, 8)

    await desk.begin(f"{PROJECT}/models/other", max_steps=9, num_workers=2)
    await desk.database.run(
        lambda c: c.execute(table.update().where(table.c.target == TARGET).values(state="FAILED"))
    )
    prefix = await desk.launch(task := await desk.claim())
    await exchange.put_json(desk.storage, exchange.error_key(prefix), told)
    with pytest.raises(errors.Exhausted, match="need 2 CPU"):
        await desk.running.watched(task, prefix, 9)
