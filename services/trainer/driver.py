"""The Ray job of one attempt: `python -m services.trainer.driver <prefix>`.

Waits for the workers' resources, runs `loop` on Ray Train and leaves `result.json` (written by the loop) or `error.json`.
A dead worker ends the job: the trainer starts the next attempt from the checkpoint that it committed, so that there is one way to resume.
"""

import asyncio
import os
import sys
import time
from dataclasses import asdict
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from servicekit.storage import Storage, open_storage
from services.trainer.exchange import Job, error_key, get_job, get_json, put_json, started_key, waiting_key
from services.trainer.logs import kept
from services.trainer.settings import TrainerSettings


class NoResources(Exception):
    """The cluster cannot hold the workers, or did not in time."""


def main(prefix: str) -> None:
    settings = TrainerSettings()
    storage = open_storage(settings)
    job = asyncio.run(get_job(storage, prefix))
    # Workers look for the cluster by this variable; without it a second Ray on the machine would confuse them.
    ray.init(runtime_env={"env_vars": {"RAY_ADDRESS": os.environ["RAY_ADDRESS"]}})
    try:
        per_worker = wait_for_resources(job, settings.resource_wait_s, storage)
        train(job, per_worker, settings)
    except Exception as error:
        asyncio.run(tell(storage, prefix, error))
        raise


def train(job: Job, per_worker: dict[str, float], settings: TrainerSettings) -> None:
    gpu = "GPU" in per_worker
    TorchTrainer(
        run_loop,
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=job.training_config().num_workers, use_gpu=gpu, resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            name=job.prefix.rsplit("/", 1)[-1],
            storage_path=str(settings.scratch / "ray-train"),
            failure_config=FailureConfig(max_failures=0),
        ),
    ).fit()


def run_loop(description: dict[str, Any]) -> None:
    """In the worker: the loop is imported there, so that the driver needs no DeepSpeed."""
    from services.trainer.loop import loop

    loop(description)


def wait_for_resources(job: Job, wait_s: float, storage: Storage) -> dict[str, float]:
    """What each worker takes: a GPU where the cluster has some, else CPUs. NoResources where they do not come free.

    Whether and for what it waits is left in storage."""
    workers = job.training_config().num_workers
    whole = ray.cluster_resources()
    per_worker = {"CPU": float(job.threads)}
    if whole.get("GPU", 0) >= workers:
        per_worker["GPU"] = 1.0
    total = ", ".join(f"{whole.get(name, 0):g} {name}" for name in per_worker)
    deadline = time.monotonic() + wait_s
    waits = False
    while True:
        free = ray.available_resources()
        missing = {
            name: (workers * amount, free.get(name, 0.0))
            for name, amount in per_worker.items()
            if free.get(name, 0.0) < workers * amount
        }
        if not missing:
            if waits:
                asyncio.run(put_json(storage, started_key(job.prefix), per_worker))
            return per_worker
        lacks = ", ".join(f"{need:g} {name} ({there:g} free)" for name, (need, there) in missing.items())
        if not waits:
            waits = True
            message = f"waits up to {wait_s:g} s for {lacks} of the Ray cluster's {total}"
            asyncio.run(put_json(storage, waiting_key(job.prefix), {"message": message}))
        if time.monotonic() > deadline:
            raise NoResources(
                f"{workers} worker(s) need {lacks}; the Ray cluster has {total} in all and none came free in "
                f"{wait_s:g} s. Ask for fewer workers, or add nodes."
            )
        time.sleep(0.5)


async def tell(storage: Storage, prefix: str, error: Exception) -> None:
    """`error.json`, unless a worker has told better."""
    if await get_json(storage, error_key(prefix)) is None:
        permanent = isinstance(error, NoResources)
        reason = "NO_RAY_RESOURCES" if permanent else "TRAINING_FAILED"
        message = str(error) if permanent else f"A process of the training failed: {last_line(error)}"
        await put_json(
            storage, error_key(prefix), {"reason": reason, "message": message, "permanent": permanent}
        )


def last_line(error: Exception) -> str:
    """Of a traceback in the error's text, which is where the cause stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


if __name__ == "__main__":
    with kept(open_storage(TrainerSettings()), sys.argv[1]):
        main(sys.argv[1])
