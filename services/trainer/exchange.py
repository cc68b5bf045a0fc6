"""What the trainer and its Ray job tell each other: objects under the attempt's prefix, each written once.

    job.json                   trainer -> job     what to do
    packed.safetensors         trainer -> job     the training rows
    begun.json                 job -> itself      that an attempt never runs twice
    waiting.json               job -> trainer     what it waits for, where it must
    started.json               job -> trainer     it waits no longer
    search/000.json ...        job -> trainer     what a trial of the learning-rate search found, with the number of its rate
    search.json                job -> trainer     all of them, and the rate that was chosen
    stop.json                  trainer -> job     end after the next step, with a checkpoint
    progress/000001.jsonl ...  job -> trainer     steps and checkpoints, a part every second or so
    checkpoints/step-.../...   job -> trainer     the engine's state
    model/...                  job -> everybody   the trained model with its manifest
    result.json | stopped.json | error.json
                               job -> trainer     the end

The two share no disk and no connection but object storage, so that the same code runs on one machine and on a cluster.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from servicekit.storage import Storage
from services.trainer.config import TrainingConfig

OUT_OF_MEMORY = "OUT_OF_MEMORY"  # a reason of `error.json` that is tried again once


@dataclass(frozen=True)
class Job:
    """Everything a Ray job knows. Plain values: it travels as JSON."""

    prefix: str
    model: str
    base_model: str
    base_key: str  # the base model's folder in object storage
    base_sha256: str
    config: dict[str, Any]  # of a TrainingConfig
    packed_key: str
    packed_sha256: str
    checkpoint: dict[str, Any] | None  # of a checkpoints.Checkpoint, committed by the trainer
    submit_time: float  # seconds since 1970
    threads: int
    best: dict[str, Any] | None = (
        None  # the checkpoint of the best step measured so far, where it is not `checkpoint`
    )
    worked_s: float = 0.0  # of `max_duration_s`, by earlier attempts
    # Of the training data, for the model's card: name, weight, row_count, sha256.
    datasets: list[dict[str, Any]] = field(default_factory=list)

    # Trials of the learning-rate search that are known: learning_rate, eval_loss (None: diverged), compute_seconds.
    searched: list[dict[str, Any]] = field(default_factory=list)

    def training_config(self) -> TrainingConfig:
        return TrainingConfig.from_json(self.config)


async def put_json(storage: Storage, key: str, value: dict[str, Any]) -> None:
    await storage.put(key, json.dumps(value).encode())


async def get_json(storage: Storage, key: str) -> dict[str, Any] | None:
    """None where there is no such object (yet)."""
    if await storage.stat(key) is None:
        return None
    return json.loads(await storage.get(key))


async def put_job(storage: Storage, job: Job) -> None:
    await put_json(storage, job_key(job.prefix), asdict(job))


async def get_job(storage: Storage, prefix: str) -> Job:
    return Job(**json.loads(await storage.get(job_key(prefix))))


def job_key(prefix: str) -> str:
    return f"{prefix}/job.json"


def packed_key(prefix: str) -> str:
    return f"{prefix}/packed.safetensors"


def begun_key(prefix: str) -> str:
    return f"{prefix}/begun.json"


def waiting_key(prefix: str) -> str:
    return f"{prefix}/waiting.json"


def started_key(prefix: str) -> str:
    return f"{prefix}/started.json"


def trial_key(prefix: str, number: int) -> str:
    return f"{prefix}/search/{number:03d}.json"


def search_key(prefix: str) -> str:
    return f"{prefix}/search.json"


async def read_trials(storage: Storage, prefix: str, rates: Sequence[float]) -> list[dict[str, Any]]:
    """What the attempt's trials of these rates have found so far, in the order of the rates; as `Job.searched`."""
    found = [await get_json(storage, trial_key(prefix, number)) for number in range(len(rates))]
    return [one for one in found if one]


def stop_key(prefix: str) -> str:
    return f"{prefix}/stop.json"


def stopped_key(prefix: str) -> str:
    return f"{prefix}/stopped.json"


def progress_key(prefix: str, part: int) -> str:
    return f"{prefix}/progress/{part:06d}.jsonl"


def checkpoint_key(prefix: str, step: int) -> str:
    return f"{prefix}/checkpoints/step-{step:08d}"


def model_key(prefix: str) -> str:
    return f"{prefix}/model"


def result_key(prefix: str) -> str:
    return f"{prefix}/result.json"


def error_key(prefix: str) -> str:
    return f"{prefix}/error.json"
