"""Metric series as TensorBoard reads them; reporters that fail or are not there."""

import asyncio
import struct
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_storage
from services.trainer import reporters
from services.trainer.engine import CannotTrain
from services.trainer.exchange import Job

PREFIX = "projects/p/models/m/op-1"
LINES = [
    {"measurement": {"step": 0, "eval_loss": 3.0, "acc": 0.25}},
    *(
        {"step": n, "loss": 3.0 / n, "learning_rate": 1e-3, "grad_norm": 1.0, "tokens": 10 * n, "time": 1e9 + n}
        for n in (1, 2, 3)
    ),
    {"checkpoint": {"step": 3}},
]  # fmt: skip


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(ServiceSettings(storage=f"file://{tmp_path}/storage"))


@pytest.fixture
def job() -> Job:
    rest = {"base_key": "b", "base_sha256": "", "packed_key": "p", "packed_sha256": "", "checkpoint": None}
    return Job(PREFIX, "projects/p/models/m", "base", config={"seed": 1}, submit_time=0.0, threads=1, **rest)


def report(names: tuple[str, ...], job: Job, storage: Storage) -> None:
    with reporters.reporting(names, job, storage) as write:
        for line in LINES:
            write(line)


def scalars(data: bytes) -> list[tuple[str, int, float]]:
    """Of an event file: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, round(value.simple_value, 4)) for value in event.summary.value]
        at += 16 + length
    return found


def events(storage: Storage) -> list[tuple[str, int, float]]:
    async def read() -> list[tuple[str, int, float]]:
        keys = sorted([found.key async for found in storage.list(f"{PREFIX}/tensorboard/")])
        assert all("tfevents" in key for key in keys)
        return [scalar for key in keys for scalar in scalars(await storage.get(key))]

    return asyncio.run(read())


def test_every_step_and_measurement_is_in_the_event_files(job: Job, storage: Storage) -> None:
    report(("tensorboard",), job, storage)
    found = events(storage)
    assert [(step, value) for tag, step, value in found if tag == "train/loss"] == [
        (1, 3.0),
        (2, 1.5),
        (3, 1.0),
    ]
    assert ("eval/loss", 0, 3.0) in found
    assert ("eval/acc", 0, 0.25) in found
    assert ("train/tokens", 3, 30.0) in found


def test_a_long_training_leaves_its_series_in_parts(job: Job, storage: Storage) -> None:
    board = reporters.TensorBoard(job, storage)
    board.part_seconds = 0.0
    for step in (1, 2, 3):
        board.write(step, 1e9, {"train/loss": float(step)})
        board.beat()
        board.part_seconds = 0.0
    assert [step for _, step, _ in events(storage)] == [1, 2, 3], "there before the end"
    board.close()
    assert [step for _, step, _ in events(storage)] == [1, 2, 3]


def test_a_package_that_is_missing_ends_the_training_with_its_name(
    job: Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(CannotTrain, match="no package wandb") as caught:
        report(("wandb",), job, storage)
    assert caught.value.reason == "REPORTER_MISSING"


def test_a_reporter_that_fails_costs_no_training(
    job: Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Any, *_: Any) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(reporters.TensorBoard, "write", write)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        report(("tensorboard",), job, storage)
    assert any("tensorboard reports no more" in str(one.message) for one in told)


def test_a_run_of_weights_and_biases_goes_on_in_the_next_attempt(
    job: Job, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is a script here; its real one was not run."""
    began: list[dict[str, Any]] = []
    logged: list[tuple[int, dict[str, float]]] = []
    run = types.SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda: None)
    module = types.SimpleNamespace(init=lambda **values: began.append(values) or run)
    monkeypatch.setitem(sys.modules, "wandb", module)
    report(("wandb",), job, storage)
    report(("wandb",), job, storage)
    assert began[0]["id"] == began[1]["id"]
    assert {one["resume"] for one in began} == {"allow"}
    assert [step for step, _ in logged] == [0, 1, 2, 3] * 2


def test_mlflow_keeps_the_series_in_its_store(
    job: Job, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    report(("mlflow",), job, storage)
    report(("mlflow",), job, storage)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("ingrain")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert (run.data.params["seed"], run.data.metrics["train/loss"]) == ("1", 1.0)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {(one.step, one.value) for one in history} == {(1, 3.0), (2, 1.5), (3, 1.0)}
