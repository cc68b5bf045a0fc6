"""A fit whose workers find no room says what it waits for. The cluster is a script here; the storage is real."""

import asyncio
import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingrain.v1 import trainer_pb2
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_storage
from services.trainer import driver, exchange
from services.trainer.progress import ProgressWriter
from services.trainer.running import Running
from services.trainer.settings import TrainerSettings
from services.trainer.spec import resolve

PREFIX = "projects/p/models/m/operation-1"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(ServiceSettings(storage=f"file://{tmp_path}/storage"))


@pytest.fixture
def job() -> exchange.Job:
    config = asdict(resolve(trainer_pb2.TrainingSpec(num_workers=2), trainer_pb2.Model()))
    rest = {"base_key": "b", "base_sha256": "", "packed_key": "p", "packed_sha256": "", "checkpoint": None}
    return exchange.Job(PREFIX, "m", "base", config=config, submit_time=0.0, threads=1, **rest)


class Cluster:
    """Two CPUs of which `free` are, one value for each look."""

    def __init__(self, *free: float) -> None:
        self.free = list(free)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def available_resources(self) -> dict[str, float]:
        return {"CPU": self.free.pop(0) if len(self.free) > 1 else self.free[0]}


async def wait(job: exchange.Job, storage: Storage, wait_s: float) -> dict[str, float]:
    return await asyncio.to_thread(driver.wait_for_resources, job, wait_s, storage)


async def test_the_driver_leaves_what_it_waits_for_and_that_it_ended(
    job: exchange.Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ray", Cluster(0.0, 1.0, 2.0))
    assert await wait(job, storage, 30.0) == {"CPU": 1.0}
    waiting = await exchange.get_json(storage, exchange.waiting_key(PREFIX))
    assert waiting == {"message": "waits up to 30 s for 2 CPU (0 free) of the Ray cluster's 2 CPU"}
    assert await exchange.get_json(storage, exchange.started_key(PREFIX)) is not None


async def test_where_there_is_room_nothing_is_told(
    job: exchange.Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ray", Cluster(2.0))
    await wait(job, storage, 30.0)
    assert [key async for key in storage.list(PREFIX)] == []


async def test_who_is_to_stop_while_it_waits_waits_no_longer(
    job: exchange.Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ray", Cluster(1.0))
    await exchange.put_json(storage, exchange.stop_key(PREFIX), {"reason": "paused"})
    with pytest.raises(driver.Stopped) as caught:
        await wait(job, storage, 30.0)
    assert caught.value.reason == "paused"


async def test_the_wait_is_bounded(
    job: exchange.Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ray", Cluster(1.0))
    with pytest.raises(driver.NoResources, match=r"2 CPU \(1 free\).*Ask for fewer workers, or add nodes"):
        await wait(job, storage, 0.0)
    assert await exchange.get_json(storage, exchange.started_key(PREFIX)) is None


class Watched:
    """What `Running.watched` asks of its task: notes, and a place for progress."""

    target = "projects/p/models/m"

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {"job": "job", "config": {"learning_rates": []}}
        self.told: list[tuple[str, str]] = []

    async def progress(self, stage: str, *counts: Any, message: str = "") -> None:
        entry = (stage, message or str(counts[-1]))
        if self.told[-1:] != [entry]:
            self.told.append(entry)

    async def until(self, stage: str) -> None:
        async with asyncio.timeout(10):
            while not self.told or self.told[-1][0] != stage:
                await asyncio.sleep(0.02)


async def running(job: str) -> str:
    return "RUNNING"


async def row(name: str) -> trainer_pb2.Model:
    return trainer_pb2.Model(name=name)


async def test_a_failure_is_told_without_secrets(
    job: exchange.Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGRAIN_S3_SECRET_KEY", "not-for-anybody")
    error = RuntimeError("Traceback\nOSError: s3 refused not-for-anybody")
    await driver.tell(storage, job, error, of_memory=False)
    told = await exchange.get_json(storage, exchange.error_key(PREFIX))
    assert told["message"] == "A process of the training failed: OSError: s3 refused [secret]"


async def test_the_operation_says_that_it_waits_then_that_it_trains(storage: Storage) -> None:
    jobs = SimpleNamespace(status=running)
    models = SimpleNamespace(rows=SimpleNamespace(get=row))
    attempts = Running(TrainerSettings(), storage, models, None, jobs)  # type: ignore[arg-type]
    task = Watched()
    watching = asyncio.create_task(attempts.watched(task, PREFIX, 5))  # type: ignore[arg-type]
    await exchange.put_json(storage, exchange.waiting_key(PREFIX), {"message": "waits for 2 CPU"})
    await task.until("waiting")
    await exchange.put_json(storage, exchange.started_key(PREFIX), {})
    await task.until("starting")
    writer = ProgressWriter(storage, PREFIX)
    writer.write({"step": 1, "loss": 2.0})
    thread = threading.Thread(target=writer.flush)
    thread.start()
    await task.until("training")
    thread.join()
    await exchange.put_json(storage, exchange.result_key(PREFIX), {"loss": 1.0})
    assert await asyncio.wait_for(watching, 10) == {"loss": 1.0}
    assert task.told == [
        ("waiting", "waits for 2 CPU"),
        ("starting", "starting the workers"),
        ("training", "loss 2.0000"),
    ]
