"""One trial of the learning-rate search: the first steps of the training itself, with another rate.

Same model, rows, order and schedule as the training would have, so what a rate does here it would do there. Needs torch, no Ray.
"""

import asyncio
import contextlib
import math
import os
from typing import Any

import torch
import torch.distributed as dist

from servicekit.storage import Storage, open_storage
from services.trainer import files
from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows
from services.trainer.engine import CannotTrain, load_model, new_engine
from services.trainer.evaluating import eval_loss
from services.trainer.exchange import Job, error_key, put_json
from services.trainer.failures import told
from services.trainer.loop import arrays_of, device, quiet_libraries
from services.trainer.metering import ComputeMeter
from services.trainer.outages import OUTAGES, within
from services.trainer.settings import TrainerSettings
from services.trainer.steps import DIVERGED, take_step


def try_rate(job: Job) -> dict[str, Any]:
    """Of the job's rate: `learning_rate`, the `eval_loss` after `search_steps` steps (None where it diverged) and `compute_seconds`.

    What else goes wrong is told as the training's own. A collective over the process group, which is made where there is none.
    """
    quiet_libraries()
    settings = TrainerSettings()
    storage = open_storage(settings)
    torch.set_num_threads(job.threads)
    if not dist.is_initialized():
        group_of_one()
    meter = ComputeMeter(device(), dist.get_world_size())
    try:
        loss = loss_after(job, storage, settings)
    except Exception as error:
        if wrong := told(error, job.training_config()):
            with contextlib.suppress(*OUTAGES):
                asyncio.run(put_json(storage, error_key(job.prefix), wrong))
        raise
    rate = job.training_config().learning_rate
    return {"learning_rate": rate, "eval_loss": loss, "compute_seconds": meter.seconds()}


def loss_after(job: Job, storage: Storage, settings: TrainerSettings) -> float | None:
    config = job.training_config()
    torch.manual_seed(config.seed)
    folder = settings.scratch / "models" / job.base_sha256
    base = asyncio.run(within(settings.storage_wait_s, lambda: files.fetch(storage, job.base_key, folder)))
    model = load_model(base, config)
    data = TrainingRows(arrays_of(job, storage, model, config), config)
    engine = new_engine(model, config)
    try:
        for step in range(1, trial_steps(config) + 1):
            take_step(engine, data, config, step)
    except CannotTrain as error:
        if error.reason != DIVERGED:
            raise
        return None
    found = eval_loss(engine, data.held_out, config)
    return found if math.isfinite(found) else None


def trial_steps(config: TrainingConfig) -> int:
    return min(config.search_steps, config.max_steps)


def group_of_one() -> None:
    """A process group as Ray Train would have made for a single worker."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
