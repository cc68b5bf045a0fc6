"""A trainer without its process, for tests of trainings: real database, real storage, real worker; only Ray is a script here."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
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
from servicekit.worker import Task, Worker
from services.trainer import exchange, files, training
from services.trainer.attempts import Attempts
from services.trainer.config import DataSummary
from services.trainer.datasource import Prepared
from services.trainer.history import History
from services.trainer.jobs import ENDED
from services.trainer.models import Models
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
        self.attempts: dict[str, str] = {}  # their prefixes, by id
        self.log = ""

    async def submit(self, id: str, prefix: str) -> None:
        self.states.setdefault(id, "RUNNING")
        self.prefixes.append(prefix)
        self.attempts[id] = prefix

    async def status(self, id: str) -> str:
        return self.states.get(id, "GONE")

    async def stop(self, id: str) -> None:
        self.states[id] = "STOPPED"

    async def log_tail(self, id: str) -> str:
        return self.log

    async def unended(self) -> dict[str, str]:
        return {id: self.attempts[id] for id, state in self.states.items() if state not in ENDED}


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

    @staticmethod
    def step(number: int, time: float = 0.0) -> dict[str, Any]:
        """A step's line."""
        rest = {"learning_rate": 0.1, "grad_norm": 1.0, "tokens_per_second": 1.0}
        return {"step": number, "loss": 1.0 / number, "tokens": 10 * number, "time": time or number, **rest}


@contextlib.asynccontextmanager
async def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """With a base model; rows are packed already."""
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
