"""Attempts that end without a result: which ones cost an attempt, and which end the training."""

import json
from typing import Any

import pytest
import structlog.testing

from servicekit import errors
from servicekit.worker import Deferred
from services.trainer import exchange
from services.trainer.logs import log_key

PROJECT = "projects/p"
TARGET = f"{PROJECT}/models/m"


async def test_deaths_of_an_attempt_that_got_on_do_not_count(desk: Any) -> None:
    name = await desk.begin()
    for number in range(1, 7):
        task = await desk.claim()
        prefix = await desk.launch(task)
        await desk.left_by_job(prefix, desk.step(number), await desk.checkpoint(prefix, number))
        desk.ray.states = dict.fromkeys(desk.ray.states, "FAILED")
        with pytest.raises(Deferred):
            await desk.running.watched(task, prefix, 9)
        assert (await desk.row(name)).attempts == 1
    prefix = await desk.launch(task := await desk.claim())
    desk.ray.states = dict.fromkeys(desk.ray.states, "FAILED")
    with pytest.raises(errors.Unavailable, match="The checkpoint of step 6 is kept"):
        await desk.running.watched(task, prefix, 9)


async def test_a_head_that_is_away_is_waited_for(desk: Any) -> None:
    async def away(id: str) -> str:
        raise errors.Unavailable("RAY_UNREACHABLE", "The Ray cluster does not answer.")

    name = await desk.begin()
    prefix = await desk.launch(task := await desk.claim())
    desk.ray.status = away  # type: ignore[method-assign]
    for _ in range(5):
        with pytest.raises(Deferred):
            await desk.running.watched(task, prefix, 9)
        task = await desk.claim()
        with pytest.raises(Deferred):
            await desk.create(task)
    assert (await desk.row(name)).failures == 0


async def test_a_storage_that_is_away_costs_no_attempt(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(key: str) -> None:
        raise errors.Unavailable("STORAGE_UNREACHABLE", "s3 cannot be reached")

    name = await desk.begin()
    await desk.launch(await desk.claim())
    with monkeypatch.context() as patch:
        patch.setattr(desk.storage, "stat", away)
        for _ in range(5):
            with pytest.raises(Deferred):
                await desk.create(await desk.claim())
    assert (await desk.row(name)).failures == 0
    await exchange.put_json(desk.storage, exchange.result_key(prefix := desk.ray.prefixes[-1]), {})
    assert await desk.running.attached(await desk.claim()) == prefix


async def test_out_of_memory_is_tried_once_more(desk: Any) -> None:
    await desk.begin()
    told = {
        "reason": "OUT_OF_MEMORY",
        "message": "What needs less: set gradient_checkpointing.",
        "permanent": False,
    }
    for expected in (errors.Unavailable, errors.Exhausted):
        prefix = await desk.launch(task := await desk.claim())
        await exchange.put_json(desk.storage, exchange.error_key(prefix), told)
        with pytest.raises(errors.Exhausted, match="set gradient_checkpointing") as caught:
            await desk.running.watched(task, prefix, 9)
        assert type(caught.value) is expected


async def test_no_secret_of_a_dead_job_reaches_a_log(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRAIN_S3_SECRET_KEY", "not-for-anybody")
    desk.ray.log = "before\nrefused: key not-for-anybody"
    await desk.begin()
    prefix = await desk.launch(task := await desk.claim())
    desk.ray.states = dict.fromkeys(desk.ray.states, "FAILED")
    with structlog.testing.capture_logs() as said, pytest.raises(errors.Unavailable):
        await desk.running.watched(task, prefix, 9)
    (ended,) = [line for line in said if line["event"] == "job ended without a result"]
    assert ended["log"] == "before\nrefused: key [secret]\n"
    assert await desk.storage.get(log_key(prefix, 1)) == ended["log"].encode()


async def test_no_job_outlives_a_training_that_has_failed_for_good(desk: Any) -> None:
    """Whatever ended it: here the base model is gone when another trainer takes over."""
    name = await desk.begin()
    prefix = await desk.launch(task := await desk.claim())
    await desk.left_by_job(prefix, desk.step(1), await desk.checkpoint(prefix, 1))
    await desk.rows.delete(f"{PROJECT}/models/base")
    assert await desk.ray.status(task.notes["job"]) == "RUNNING"
    with pytest.raises(errors.NotFound):
        await desk.create(await desk.claim())
    assert await desk.ray.status(task.notes["job"]) == "STOPPED"
    assert json.loads((await desk.row(name)).notes)["checkpoint"]["step"] == 1
