"""Attempts at a training as SQL sees them: real database, real storage, real worker; only Ray is a script here."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit import identity
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.storage import open_storage
from servicekit.tables import operation as table
from servicekit.worker import Deferred, LostLease, Task, Worker
from services.trainer import exchange, files, pausing, training
from services.trainer.attempts import Attempts
from services.trainer.committing import note_checkpoints
from services.trainer.config import DataSummary
from services.trainer.datasource import Prepared
from services.trainer.history import History
from services.trainer.models import Models
from services.trainer.plan import Plan
from services.trainer.progress import ProgressWriter
from services.trainer.settings import TrainerSettings
from services.trainer.training import Trainings

PROJECT = "projects/p"
TARGET = f"{PROJECT}/models/m"
Spec = trainer_pb2.TrainingSpec


class Script:
    """Ray as the trainer sees it: jobs by id, each in the state that a test gives it."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.prefixes: list[str] = []

    async def submit(self, id: str, prefix: str) -> None:
        self.states.setdefault(id, "RUNNING")
        self.prefixes.append(prefix)

    async def status(self, id: str) -> str:
        return self.states.get(id, "GONE")

    async def stop(self, id: str) -> None:
        self.states[id] = "STOPPED"

    async def log_tail(self, id: str) -> str:
        return ""


class Desk:
    """A trainer without its process."""

    def __init__(self, folder: Path) -> None:
        self.settings = TrainerSettings(
            storage=f"file://{folder}/storage", scratch=folder / "scratch", lease_s=5.0
        )
        self.database = Database(f"sqlite:///{folder}/trainer.db", schema="trainer")
        self.rows = Resources(self.database, trainer_pb2.Model, "models")
        self.operations = Operations(self.database, {"models": self.rows})
        self.storage = open_storage(self.settings)
        self.models = Models(self.rows, self.storage)
        self.attempts = Attempts(self.database)
        self.history = History(self.attempts, self.models, self.storage)
        self.ray = Script()
        self.writers: dict[str, ProgressWriter] = {}
        self.trainings = Trainings(
            self.settings, self.storage, self.models, self.attempts, self.history, self.ray
        )
        self.worker = Worker(
            self.operations,
            {"CreateModel": (trainer_pb2.CreateModelRequest, self.trainings.create_model)},
            self.settings,
        )
        self.running = self.trainings.running

    async def begin(self, model: str = TARGET, resume_from: str = "", **spec: Any) -> str:
        """The operation's name."""
        request = trainer_pb2.CreateModelRequest(
            parent=PROJECT,
            training=Spec(**(spec or {"max_steps": 9, "save_steps": 3})),
            resume_from=resume_from,
        )
        request.training.base_model = f"{PROJECT}/models/base"
        row = trainer_pb2.Model(name=model, base_model=request.training.base_model, training=request.training)
        return (await self.operations.start("CreateModel", request, row)).name

    async def claim(self) -> Task:
        """The next attempt, whoever had the one before."""

        def claim(connection: sa.Connection) -> Any:
            connection.execute(table.update().values(lease_until=0.0, not_before=0.0))
            return self.worker._claim_in(connection, ["CreateModel"])

        return Task(self.operations, await self.database.run(claim))

    async def row(self, name: str) -> Any:
        return await self.database.run(lambda connection: self.operations.row_in(connection, name))

    async def create(self, task: Task) -> Any:
        """The handler, once."""
        row = await self.row(task.name)
        return await self.trainings.create_model(task, trainer_pb2.CreateModelRequest.FromString(row.request))

    async def launch(self, task: Task) -> str:
        """The handler until its job runs; the job's prefix."""
        handler = asyncio.create_task(self.create(task))
        count = len(self.ray.prefixes)
        async with asyncio.timeout(10):
            while len(self.ray.prefixes) == count and not handler.done():
                await asyncio.sleep(0.01)
        handler.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await handler
        return self.ray.prefixes[-1]

    async def left_by_job(self, prefix: str, *lines: dict[str, Any]) -> None:
        """Steps and checkpoints, as the loop would write them."""
        writer = self.writers.setdefault(prefix, ProgressWriter(self.storage, prefix))
        for line in lines:
            writer.write(line)
        await writer.put_all()

    async def checkpoint(self, prefix: str, step: int, **more: Any) -> dict[str, Any]:
        key = exchange.checkpoint_key(prefix, step)
        stored = await self.storage.put(f"{key}/state/a.pt", f"{prefix} {step}".encode())
        file = {"name": "state/a.pt", "size_bytes": stored.size_bytes, "sha256": stored.sha256}
        rest = {"tokens": 10 * step, "compute_seconds": 1.0, "files": [file]}
        return {"checkpoint": {"step": step, "key": key, **rest, **more}}

    async def model(self, prefix: str, folder: Path, text: str) -> dict[str, Any]:
        """A trained model and its result."""
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"made": text}))
        await files.publish(self.storage, exchange.model_key(prefix), folder, {})
        result = {"loss": 1.0, "tokens": 90, "compute_seconds": 1.0, "startup_seconds": 1.0, "step": 9}
        result |= {"bf16": False, "device": "cpu", "parameter_count": 5, "versions": {}, "best_step": 9}
        await exchange.put_json(self.storage, exchange.result_key(prefix), result)
        return result

    async def exists(self, key: str) -> bool:
        return await self.storage.stat(key) is not None


def step(number: int, time: float = 0.0) -> dict[str, Any]:
    rest = {"learning_rate": 0.1, "grad_norm": 1.0, "tokens_per_second": 1.0}
    return {"step": number, "loss": 1.0 / number, "tokens": 10 * number, "time": time or number, **rest}


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    packed = tmp_path / "packed"
    packed.write_bytes(b"rows")

    @contextlib.asynccontextmanager
    async def prepared(*_: Any) -> Any:
        yield Prepared(packed, DataSummary(8, 4, 100, 0.1, 12.0), 400)

    async def cited(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(training, "prepared", prepared)
    monkeypatch.setattr(training, "cited", cited)
    identity.set_caller(identity.Caller("service", "test", PROJECT))
    desk = Desk(tmp_path)
    await desk.database.create_all()
    base = trainer_pb2.Model(
        name=f"{PROJECT}/models/base", state=common_pb2.ACTIVE, parameter_count=1000, context_window=256,
        layer_count=1, hidden_size=8, uri=desk.storage.uri("base"), sha256="0",
    )  # fmt: skip
    (folder := tmp_path / "base").mkdir()
    (folder / "config.json").write_text('{"hidden_size": 8}')
    await files.publish(desk.storage, "base", folder, {})
    await desk.rows.insert(base)
    yield desk
    await desk.database.close()


async def test_a_ghost_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    """The first attempt's trainer and its job live on when a second one has the fence; what they do then does not count."""
    name = await desk.begin()
    ghost = await desk.claim()
    old = await desk.launch(ghost)
    await desk.left_by_job(old, step(1), step(2), step(3), kept := await desk.checkpoint(old, 3))
    await note_checkpoints(ghost, desk.storage, [kept])
    desk.ray.states.clear()  # Ray forgot the job, which is still alive

    heir = await desk.claim()
    new = await desk.launch(heir)
    assert new != old
    assert json.loads(await desk.storage.get(exchange.job_key(new)))["checkpoint"] == kept["checkpoint"]

    # The ghost's job goes on, further than its heir, and even ends.
    await desk.left_by_job(old, step(4), later := await desk.checkpoint(old, 6))
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

    await desk.left_by_job(new, *[step(n) for n in range(4, 10)])
    await desk.model(new, tmp_path / "new", "heir")
    model = await desk.create(await desk.claim())
    assert model.uri == desk.storage.uri(exchange.model_key(new))
    assert await desk.history.losses(TARGET) == [1.0 / n for n in range(1, 10)]


async def test_what_served_only_the_training_goes_when_it_has_ended(desk: Desk, tmp_path: Path) -> None:
    await desk.begin()
    first = await desk.launch(await desk.claim())
    await desk.left_by_job(first, step(1), await desk.checkpoint(first, 1))
    await desk.model(first, tmp_path / "first", "half-exported")
    await desk.storage.delete(exchange.result_key(first))
    desk.ray.states.clear()
    second = await desk.launch(await desk.claim())
    await desk.left_by_job(second, step(2), await desk.checkpoint(second, 2))
    await desk.storage.put(f"{exchange.checkpoint_key(second, 3)}/state/b.pt", b"of a worker that died")
    await desk.model(second, tmp_path / "second", "whole")
    await desk.create(await desk.claim())
    left = {found.key async for found in desk.storage.list(f"{TARGET}/")}
    assert left == {
        f"{prefix}/{name}" for prefix in (first, second) for name in ("job.json", "progress/000001.jsonl")
    } | {f"{second}/{name}" for name in ("model/config.json", "model/manifest.json", "result.json")}


async def test_the_best_steps_checkpoint_outlives_newer_ones(desk: Desk) -> None:
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


async def test_a_paused_training_stops_with_its_checkpoint_and_goes_on(desk: Desk) -> None:
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
    await desk.left_by_job(prefix, step(1, 100.0), step(2, 130.0), await desk.checkpoint(prefix, 2))
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


async def test_the_time_of_all_attempts_counts_and_pauses_when_it_is_up(desk: Desk) -> None:
    await desk.begin(max_steps=9, max_duration={"seconds": 100})
    first = await desk.launch(await desk.claim())
    await desk.left_by_job(first, step(1, 100.0), step(2, 160.0))
    desk.ray.states.clear()
    task = await desk.claim()
    second = await desk.launch(task)
    assert (await exchange.get_job(desk.storage, second)).worked_s == 60.0
    await desk.left_by_job(second, step(1, 200.0), await desk.checkpoint(second, 1))
    await exchange.put_json(desk.storage, exchange.stopped_key(second), {"reason": "budget", "step": 1})
    with pytest.raises(Deferred):
        await desk.running.watched(task, second, 9)
    assert (await desk.rows.get(TARGET)).paused
    request = trainer_pb2.ResumeTrainingRequest(name=TARGET, max_duration={"seconds": 50})
    await pausing.resume(desk.models, request)
    job = await exchange.get_job(desk.storage, await desk.launch(await desk.claim()))
    assert (job.training_config().max_duration_s, job.worked_s) == (50.0, 0.0)


async def test_deaths_of_an_attempt_that_got_on_do_not_count(desk: Desk) -> None:
    name = await desk.begin()
    for number in range(1, 7):
        task = await desk.claim()
        prefix = await desk.launch(task)
        await desk.left_by_job(prefix, step(number), await desk.checkpoint(prefix, number))
        desk.ray.states = dict.fromkeys(desk.ray.states, "FAILED")
        with pytest.raises(Deferred):
            await desk.running.watched(task, prefix, 9)
        assert (await desk.row(name)).attempts == 1
    prefix = await desk.launch(task := await desk.claim())
    desk.ray.states = dict.fromkeys(desk.ray.states, "FAILED")
    with pytest.raises(training.Unavailable, match="The checkpoint of step 6 is kept"):
        await desk.running.watched(task, prefix, 9)


async def test_workers_that_find_no_room_any_more_wait_for_a_word(desk: Desk) -> None:
    """Before the first checkpoint it is an error of the request; later the training is paused, and may go on with fewer."""
    told = {"reason": "NO_RAY_RESOURCES", "message": "2 worker(s) need 2 CPU.", "permanent": True}
    await desk.begin(max_steps=9, num_workers=2)
    prefix = await desk.launch(task := await desk.claim())
    await desk.left_by_job(prefix, step(1), await desk.checkpoint(prefix, 1))
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
    with pytest.raises(training.Exhausted, match="need 2 CPU"):
        await desk.running.watched(task, prefix, 9)


async def test_a_head_that_is_away_is_waited_for(desk: Desk) -> None:
    async def away(id: str) -> str:
        raise training.Unavailable("RAY_UNREACHABLE", "The Ray cluster does not answer.")

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


async def test_a_storage_that_is_away_costs_no_attempt(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(key: str) -> None:
        raise training.Unavailable("STORAGE_UNREACHABLE", "s3 cannot be reached")

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


async def test_out_of_memory_is_tried_once_more(desk: Desk) -> None:
    await desk.begin()
    told = {
        "reason": "OUT_OF_MEMORY",
        "message": "What needs less: set gradient_checkpointing.",
        "permanent": False,
    }
    for expected in (training.Unavailable, training.Exhausted):
        prefix = await desk.launch(task := await desk.claim())
        await exchange.put_json(desk.storage, exchange.error_key(prefix), told)
        with pytest.raises(training.Exhausted, match="set gradient_checkpointing") as caught:
            await desk.running.watched(task, prefix, 9)
        assert type(caught.value) is expected


async def test_a_diverged_training_leaves_its_checkpoint_to_the_next(desk: Desk, tmp_path: Path) -> None:
    name = await desk.begin(max_steps=9, save_steps=3, seed=5)
    working = asyncio.create_task(desk.worker.run())
    async with asyncio.timeout(10):
        while not desk.ray.prefixes:
            await asyncio.sleep(0.02)
    prefix = desk.ray.prefixes[0]
    await desk.left_by_job(
        prefix, step(1), older := await desk.checkpoint(prefix, 3), kept := await desk.checkpoint(prefix, 6)
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
        with pytest.raises(training.Invalid, match=error):
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
    await desk.left_by_job(job.prefix, step(7), await desk.checkpoint(job.prefix, 7))
    await desk.model(job.prefix, tmp_path / "other", "resumed")
    assert (await desk.operations.wait(name, 10)).HasField("response")
    assert await desk.exists(kept["checkpoint"]["key"] + "/state/a.pt"), "it is still the failed training's"
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
