"""A new training from the checkpoint that a failed one left."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit import errors
from servicekit.tables import operation as table
from services.trainer import exchange

PROJECT = "projects/p"
TARGET = f"{PROJECT}/models/m"
Spec = trainer_pb2.TrainingSpec


async def test_a_diverged_training_leaves_its_checkpoint_to_the_next(desk: Any, tmp_path: Path) -> None:
    name = await desk.begin(max_steps=9, save_steps=3, seed=5)
    working = asyncio.create_task(desk.worker.run())
    async with asyncio.timeout(10):
        while not desk.ray.prefixes:
            await asyncio.sleep(0.02)
    prefix = desk.ray.prefixes[0]
    await desk.left_by_job(
        prefix,
        desk.step(1),
        older := await desk.checkpoint(prefix, 3),
        kept := await desk.checkpoint(prefix, 6),
    )
    wrong = {"reason": "TRAINING_DIVERGED", "message": "Lower the learning rate.", "permanent": True}
    await exchange.put_json(desk.storage, exchange.error_key(prefix), wrong)
    operation = await desk.operations.wait(name, 10)
    assert "The checkpoint of step 6 is kept" in operation.error.message
    assert f"resume_from {TARGET}" in operation.error.message
    exists = [await desk.exists(line["checkpoint"]["key"] + "/state/a.pt") for line in (older, kept)]
    assert exists == [False, True]

    for spec, error in (
        ({"seed": 6}, "seed is not what it was"),
        ({"max_steps": 5}, "raise it"),
        ({"num_workers": 3}, "cannot share evenly"),
    ):
        asked = Spec(base_model=f"{PROJECT}/models/base", **spec)
        request = trainer_pb2.CreateModelRequest(parent=PROJECT, training=asked, resume_from=TARGET)
        with pytest.raises(errors.Invalid, match=error):
            await desk.trainings.check(request)
    other = f"{PROJECT}/models/other"
    name = await desk.begin(other, resume_from=TARGET, learning_rate=1e-4, max_steps=12, num_workers=2)
    async with asyncio.timeout(10):
        while len(desk.ray.prefixes) < 2:
            await asyncio.sleep(0.02)
    job = await exchange.get_job(desk.storage, desk.ray.prefixes[1])
    config = job.training_config()
    assert (job.checkpoint["step"], config.learning_rate, config.max_steps, config.seed) == (6, 1e-4, 12, 5)
    assert (config.num_workers, config.per_device_train_batch_size, config.save_steps) == (2, 2, 3)
    await desk.left_by_job(job.prefix, desk.step(7), await desk.checkpoint(job.prefix, 7))
    await desk.model(job.prefix, tmp_path / "other", "resumed")
    assert (await desk.operations.wait(name, 10)).HasField("response")
    assert await desk.exists(kept["checkpoint"]["key"] + "/state/a.pt"), "it is still the failed training's"
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def test_it_goes_on_when_the_failed_one_is_gone(desk: Any) -> None:
    """Once it has a checkpoint of its own it needs nothing of the other any more."""
    name = await desk.begin()
    prefix = await desk.launch(task := await desk.claim())
    await desk.left_by_job(prefix, desk.step(1), await desk.checkpoint(prefix, 3))
    wrong = {"reason": "TRAINING_DIVERGED", "message": "Lower the learning rate.", "permanent": True}
    await exchange.put_json(desk.storage, exchange.error_key(prefix), wrong)
    with pytest.raises(errors.Invalid):
        await desk.running.watched(task, prefix, 9)
    await desk.database.run(
        lambda c: c.execute(table.update().where(table.c.name == name).values(state="FAILED"))
    )
    await desk.rows.update(TARGET, lambda model: setattr(model, "state", common_pb2.FAILED))

    await desk.begin(other := f"{PROJECT}/models/other", resume_from=TARGET, max_steps=12)
    prefix = await desk.launch(await desk.claim())
    await desk.left_by_job(prefix, desk.step(4), await desk.checkpoint(prefix, 4))
    await desk.models.delete(TARGET)
    desk.ray.states.clear()
    again = await desk.launch(await desk.claim())
    assert again.startswith(other)
    assert (await exchange.get_job(desk.storage, again)).checkpoint["step"] == 4
