"""The learning-rate search: part of the Ray job, before the training.

Each rate trains for the first `search_steps` steps of the run's own schedule, then the loss on the held-out rows is measured; the lowest
wins. Ray Tune runs the trials one after another, each with all the workers that the training has. Every trial leaves its finding in
storage when it ends, so that a later attempt tries only what is missing; `search.json` is the whole table.
"""

import asyncio
import os
import shutil
import time
from dataclasses import asdict, replace
from typing import Any

from servicekit.storage import Storage, open_storage
from services.trainer.exchange import (
    Job,
    error_key,
    get_json,
    put_json,
    read_trials,
    search_key,
    stop_key,
    trial_key,
)
from services.trainer.scratch import attempt_folder
from services.trainer.settings import TrainerSettings

Found = list[dict[str, Any]]  # as `Job.searched`


class NoRate(Exception):
    """Every rate diverged; `error.json` tells it."""


class Stopped(Exception):
    """The training was paused while it searched. `reason` is that of `stop.json`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def searched(job: Job, per_worker: dict[str, float], settings: TrainerSettings, storage: Storage) -> Job:
    """The job with the best of the rates; as it is where none are searched. Raises NoRate and Stopped."""
    rates = job.training_config().learning_rates
    if not rates:
        return job
    started = time.time()
    known = by_rate(job.searched)
    if missing := [number for number, rate in enumerate(rates) if rate not in known]:
        tune_rates(job, missing, per_worker, settings)
        known |= by_rate(asyncio.run(read_trials(storage, job.prefix, rates)))
    if any(rate not in known for rate in rates):
        raise Stopped(asyncio.run(stop_reason(storage, job)))
    table = [known[rate] for rate in rates]
    best = lowest(table)
    asyncio.run(put_json(storage, search_key(job.prefix), {"learning_rate": best, "trials": table}))
    if best is None:
        asyncio.run(put_json(storage, error_key(job.prefix), no_rate(job)))
        raise NoRate()
    # The training's own start does not begin before the search has ended.
    return replace(at_rate(job, best), searched=table, submit_time=job.submit_time + time.time() - started)


def by_rate(found: Found) -> dict[float, dict[str, Any]]:
    return {one["learning_rate"]: one for one in found}


def at_rate(job: Job, rate: float) -> Job:
    return replace(job, config={**job.config, "learning_rate": rate})


def lowest(table: Found) -> float | None:
    """The rate of the lowest loss, of equal ones the lowest rate; None where all diverged."""
    found = [(one["eval_loss"], one["learning_rate"]) for one in table if one["eval_loss"] is not None]
    return min(found)[1] if found else None


def no_rate(job: Job) -> dict[str, Any]:
    config = job.training_config()
    smallest = min(config.learning_rates)
    message = (
        f"The training diverged with every rate that was searched, {smallest:g} the smallest of them. Search rates around "
        f"{smallest / 10:g}, raise warmup_ratio (now {config.warmup_ratio:g}) or lower max_grad_norm (now {config.max_grad_norm:g})."
    )
    return {"reason": "TRAINING_DIVERGED", "message": message, "permanent": True}


def tune_rates(job: Job, numbers: list[int], per_worker: dict[str, float], settings: TrainerSettings) -> None:
    """Tries the rates of these numbers. Raises where a trial fails for another reason than that it diverged."""
    # Ray's own tables and TensorBoard files of the trials are of no use to anybody here.
    os.environ.update(RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1")
    from ray import tune

    # One worker is the trial's own process. Several are Ray Train's, who asks for their resources itself and could wait for ever for
    # what the trial held; it must hold something, so it holds a byte.
    resources = per_worker if job.training_config().num_workers == 1 else {"memory": 1.0}
    folder = attempt_folder(settings.scratch, "ray-tune", job.prefix)
    trainable = tune.with_parameters(trial, description=asdict(job), per_worker=per_worker)
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"number": tune.grid_search(numbers)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0, fail_fast=True),
        ),
    )
    try:
        results = tuner.fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if results.errors:
        raise results.errors[0]


def trial(config: dict[str, Any], description: dict[str, Any], per_worker: dict[str, float]) -> None:
    """In the trial's process: tries one rate and leaves what it found. Does nothing where the training was told to stop."""
    from ray import tune

    job, settings = Job(**description), TrainerSettings()
    storage, number = open_storage(settings), config["number"]
    if asyncio.run(get_json(storage, stop_key(job.prefix))) is None:
        rate = job.training_config().learning_rates[number]
        found = tried(at_rate(job, rate), number, per_worker, settings)
        asyncio.run(put_json(storage, trial_key(job.prefix, number), found))
    tune.report({"number": number})


def tried(job: Job, number: int, per_worker: dict[str, float], settings: TrainerSettings) -> dict[str, Any]:
    if job.training_config().num_workers > 1:
        from services.trainer.workers import fit

        folder = attempt_folder(settings.scratch, "ray-train", f"{job.prefix}t{number}")
        try:
            return fit(try_in_worker, job, per_worker, settings, folder.name).return_value
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return try_in_worker(asdict(job))


def try_in_worker(description: dict[str, Any]) -> dict[str, Any]:
    from services.trainer.trying import try_rate

    return try_rate(Job(**description))


async def stop_reason(storage: Storage, job: Job) -> str:
    stop = await get_json(storage, stop_key(job.prefix))
    return stop["reason"] if stop else "paused"
