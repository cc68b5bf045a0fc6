"""Attempts at a training as SQL sees them, and what they leave in storage."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.v1 import trainer_pb2
from servicekit.errors import Unavailable
from servicekit.worker import Deferred, LostLease
from services.trainer import exchange
from services.trainer.committing import note_checkpoints
from services.trainer.plan import Plan

PROJECT = "projects/p"
TARGET = f"{PROJECT}/models/m"


async def test_a_ghost_changes_nothing(desk: Any, tmp_path: Path) -> None:
    """The first attempt's trainer and its job live on when a second one has the fence; what they do then does not count."""
    name = await desk.begin()
    ghost = await desk.claim()
    old = await desk.launch(ghost)
    await desk.left_by_job(
        old, desk.step(1), desk.step(2), desk.step(3), kept := await desk.checkpoint(old, 3)
    )
    await note_checkpoints(ghost, desk.storage, [kept])
    desk.ray.states.clear()  # Ray forgot the job, which is still alive

    heir = await desk.claim()
    new = await desk.launch(heir)
    assert new != old
    assert json.loads(await desk.storage.get(exchange.job_key(new)))["checkpoint"] == kept["checkpoint"]

    # The ghost's job goes on, further than its heir, and even ends.
    await desk.left_by_job(old, desk.step(4), later := await desk.checkpoint(old, 6))
    result = await desk.model(old, tmp_path / "old", "ghost")
    base = await desk.rows.get(f"{PROJECT}/models/base")
    plan, request = Plan.of(ghost.notes), trainer_pb2.CreateModelRequest()
    before = await desk.row(name)
    for write in (
        note_checkpoints(ghost, desk.storage, [later]),
        desk.running.launched(ghost, plan, base),
        desk.running.pause(ghost, {"reason": "budget"}),
        desk.trainings.finished(ghost, request, plan, base, old, result),
    ):
        with pytest.raises(LostLease):
            await write
        assert (await desk.row(name)).notes == before.notes
    assert await desk.exists(kept["checkpoint"]["key"] + "/state/a.pt"), "its heir needs it"
    assert not (await desk.rows.get(TARGET)).paused
    assert [attempt.prefix for attempt in await desk.attempts.of(TARGET)] == [old, new]

    await desk.left_by_job(new, *[desk.step(n) for n in range(4, 10)])
    await desk.model(new, tmp_path / "new", "heir")
    model = await desk.create(await desk.claim())
    assert model.uri == desk.storage.uri(exchange.model_key(new))
    assert await desk.history.losses(TARGET) == [1.0 / n for n in range(1, 10)]


async def test_what_served_only_the_training_goes_when_it_has_ended(desk: Any, tmp_path: Path) -> None:
    await desk.begin()
    first = await desk.launch(await desk.claim())
    await desk.left_by_job(first, desk.step(1), await desk.checkpoint(first, 1))
    await desk.model(first, tmp_path / "first", "half-exported")
    await desk.storage.delete(exchange.result_key(first))
    desk.ray.states.clear()
    second = await desk.launch(await desk.claim())
    await desk.left_by_job(second, desk.step(2), await desk.checkpoint(second, 2))
    await desk.storage.put(f"{exchange.checkpoint_key(second, 3)}/state/b.pt", b"of a worker that died")
    await desk.model(second, tmp_path / "second", "whole")
    await desk.create(await desk.claim())
    left = {found.key async for found in desk.storage.list(f"{TARGET}/")}
    assert left == {
        f"{prefix}/{name}" for prefix in (first, second) for name in ("job.json", "progress/000001.jsonl")
    } | {f"{second}/{name}" for name in ("model/config.json", "model/manifest.json", "result.json")}


async def test_the_best_steps_checkpoint_outlives_newer_ones(desk: Any) -> None:
    await desk.begin()
    task = await desk.claim()
    prefix = await desk.launch(task)
    first, best, last = [await desk.checkpoint(prefix, n, best=n == 2) for n in (1, 2, 3)]
    for line in (first, best, last):
        await note_checkpoints(task, desk.storage, [line])
    assert [await desk.exists(line["checkpoint"]["key"] + "/state/a.pt") for line in (first, best, last)] == [
        False, True, True,
    ]  # fmt: skip
    desk.ray.states.clear()
    job = await exchange.get_job(desk.storage, await desk.launch(await desk.claim()))
    assert (job.checkpoint["step"], job.best["step"]) == (3, 2)


async def test_a_job_that_finishes_while_it_is_looked_at_is_not_thrown_away(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.begin()
    prefix = await desk.launch(await desk.claim())

    async def ends(id: str) -> str:
        await desk.model(prefix, tmp_path / "model", "finished")
        return "SUCCEEDED"

    monkeypatch.setattr(desk.ray, "status", ends)
    assert await desk.running.attached(await desk.claim()) == prefix


@pytest.mark.parametrize("call", ["submit", "status", "stop", "log_tail"])
@pytest.mark.parametrize("reason", ["KUBERNETES_UNREACHABLE", "RAY_UNREACHABLE"])
async def test_whoever_runs_jobs_may_be_away_without_costing_an_attempt(
    desk: Any, monkeypatch: pytest.MonkeyPatch, call: str, reason: str
) -> None:
    async def away(*_: str) -> None:
        raise Unavailable(reason, "does not answer")

    await desk.begin()
    if call != "submit":
        await desk.launch(task := await desk.claim())
        desk.ray.states[task.notes["job"]] = "RUNNING" if call == "log_tail" else "FAILED"
    task = await desk.claim()
    with monkeypatch.context() as patch:
        patch.setattr(desk.ray, call, away)
        if call == "log_tail":
            desk.ray.states[task.notes["job"]] = "FAILED"
            with pytest.raises(Deferred):
                await desk.running.watched(task, task.notes["prefix"], 9)
        else:
            with pytest.raises(Deferred):
                await desk.create(task)
    await desk.launch(await desk.claim())


async def test_a_refused_submission_is_no_outage(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: str) -> None:
        raise Unavailable("RAY_JOB_REFUSED", "no such queue")

    monkeypatch.setattr(desk.ray, "submit", refused)
    await desk.begin()
    with pytest.raises(Unavailable):
        await desk.create(await desk.claim())


async def test_who_cancels_does_not_wait_for_a_control_plane(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: str) -> None:
        raise Unavailable("KUBERNETES_UNREACHABLE", "does not answer")

    await desk.begin()
    await desk.launch(task := await desk.claim())
    monkeypatch.setattr(desk.ray, "stop", away)
    task.stopping = "cancelled"
    with pytest.raises(Unavailable):
        await desk.running.left(task)
