"""The Ray job of one attempt: `python -m services.trainer.driver <prefix>`.

Waits for the workers' resources, searches for a learning rate where one is wanted, runs `loop` on Ray Train and leaves `result.json`
(written by the loop) or `error.json`.
A dead worker ends the job: the trainer starts the next attempt from the checkpoint that it committed, so that there is one way to resume.
"""

import asyncio
import os
import shutil
import sys
import time
from typing import Any

import ray

from servicekit.storage import Storage, open_storage
from services.trainer.deaths import died_of_memory, oom_kills, out_of_memory
from services.trainer.exchange import (
    Job,
    begun_key,
    error_key,
    get_job,
    get_json,
    put_json,
    started_key,
    stop_key,
    stopped_key,
    waiting_key,
)
from services.trainer.logs import Redaction, kept
from services.trainer.scratch import attempt_folder, sweep
from services.trainer.search import Stopped, searched
from services.trainer.settings import TrainerSettings
from services.trainer.workers import fit


class NoResources(Exception):
    """The cluster cannot hold the workers, or did not in time."""


class Twice(Exception):
    """The attempt has run before: its Ray cluster was lost, and made anew with the same job."""


def main(prefix: str) -> None:
    settings = TrainerSettings()
    storage = open_storage(settings)
    job = asyncio.run(get_job(storage, prefix))
    # Workers look for the cluster by this variable; without it a second Ray on the machine would confuse them.
    ray.init(runtime_env={"env_vars": {"RAY_ADDRESS": os.environ["RAY_ADDRESS"]}})
    kills = oom_kills()
    sweep(settings.scratch, ("ray-train", "ray-tune"), prefix)
    try:
        asyncio.run(begin(storage, prefix))
        per_worker = wait_for_resources(job, settings.resource_wait_s, storage, settings.worker_gpus)
        job = searched(job, per_worker, settings, storage)
        fit(run_loop, job, per_worker, settings, job.prefix.rsplit("/", 1)[-1])
    except Stopped as stopped:
        asyncio.run(put_json(storage, stopped_key(prefix), {"reason": stopped.reason, "step": 0}))
    except Exception as error:
        asyncio.run(tell(storage, job, error, died_of_memory(error, kills)))
        raise
    finally:
        shutil.rmtree(attempt_folder(settings.scratch, "ray-train", prefix), ignore_errors=True)


def run_loop(description: dict[str, Any]) -> None:
    """In the worker: the loop is imported there, so that the driver needs no DeepSpeed."""
    from services.trainer.loop import loop

    loop(description)


async def begin(storage: Storage, prefix: str) -> None:
    """Twice where the attempt has begun before. What its first run left could not be told from what a second one leaves; the next attempt
    goes on from what is committed."""
    if await get_json(storage, begun_key(prefix)) is not None:
        raise Twice("The training's Ray cluster was lost.")
    await put_json(storage, begun_key(prefix), {"time": time.time()})


def wait_for_resources(
    job: Job, wait_s: float, storage: Storage, gpus: int | None = None
) -> dict[str, float]:
    """What each worker takes: CPUs, and GPUs as told; else a GPU where the cluster has as many as workers. NoResources where they do not come
    free. Nodes may still be joining the cluster.

    Whether and for what it waits is left in storage."""
    workers = job.training_config().num_workers
    per_worker = {"CPU": float(job.threads)}
    if gpus is None:
        gpus = int(ray.cluster_resources().get("GPU", 0) >= workers)
    if gpus:
        per_worker["GPU"] = float(gpus)
    deadline = time.monotonic() + wait_s
    waits = False
    while True:
        if asked := asyncio.run(get_json(storage, stop_key(job.prefix))):
            raise Stopped(asked["reason"])
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
        whole = ray.cluster_resources()
        total = ", ".join(f"{whole.get(name, 0):g} {name}" for name in per_worker)
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


async def tell(storage: Storage, job: Job, error: Exception, of_memory: bool) -> None:
    """`error.json`, unless a worker has told better."""
    if await get_json(storage, error_key(job.prefix)) is not None:
        return
    if isinstance(error, NoResources):
        wrong = {"reason": "NO_RAY_RESOURCES", "message": str(error), "permanent": True}
    elif isinstance(error, Twice):
        wrong = {"reason": "TRAINING_INTERRUPTED", "message": str(error), "permanent": False}
    elif of_memory:
        wrong = out_of_memory(job.training_config(), ray.cluster_resources().get("GPU", 0) > 0)
    else:
        message = f"A process of the training failed: {Redaction(os.environ)(last_line(error))}"
        wrong = {"reason": "TRAINING_FAILED", "message": message, "permanent": False}
    await put_json(storage, error_key(job.prefix), wrong)


def last_line(error: Exception) -> str:
    """Of a traceback in the error's text, which is where the cause stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


if __name__ == "__main__":
    with kept(open_storage(TrainerSettings()), sys.argv[1]):
        main(sys.argv[1])
