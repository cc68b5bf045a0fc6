"""One Ray Train worker: model, DeepSpeed, steps, checkpoints, export (legend: R packed rows, L tokens of a row, B rows of a micro-batch).

Needs an initialised torch process group and no Ray, so that tests run it bare.
"""

import asyncio
import logging
import math
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from servicekit.storage import Storage, open_storage
from services.trainer import checkpoints, files, parity
from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows, fetch_packed
from services.trainer.engine import CannotTrain, load_model, new_engine, trained_parameters, uses_bf16
from services.trainer.exchange import Job, checkpoint_key, error_key, model_key, put_json, result_key
from services.trainer.export import export
from services.trainer.metering import ComputeMeter
from services.trainer.progress import ProgressWriter
from services.trainer.settings import TrainerSettings
from services.trainer.step import learning_rate, train_step


def loop(description: dict[str, Any]) -> None:
    """Trains `Job(**description)` and leaves `model/` and `result.json` under its prefix; `error.json` where no other
    attempt would do better."""
    quiet_libraries()
    job = Job(**description)
    settings = TrainerSettings()
    storage = open_storage(settings)
    torch.set_num_threads(job.threads)
    try:
        train(job, storage, settings)
    except CannotTrain as error:
        if dist.get_rank() == 0:
            wrong = {"reason": error.reason, "message": error.message, "permanent": True}
            asyncio.run(put_json(storage, error_key(job.prefix), wrong))
        raise
    dist.barrier()


def train(job: Job, storage: Storage, settings: TrainerSettings) -> None:
    config = job.training_config()
    torch.manual_seed(config.seed)
    base_folder = settings.scratch / "models" / job.base_sha256
    base = asyncio.run(files.fetch(storage, job.base_key, base_folder))
    data = TrainingRows(fetch_packed(storage, job), config)
    engine = new_engine(load_model(base, config), config)
    done = checkpoints.Checkpoint(**job.checkpoint) if job.checkpoint else None
    if done:
        checkpoints.load(engine, storage, done)
    writer = ProgressWriter(storage, job.prefix)
    with writer.open():
        result = run_steps(engine, data, config, storage, job, writer, done)
    result["parity"] = parity.fixed_logprobs(engine, config, data)
    with tempfile.TemporaryDirectory(prefix="ingrain-") as folder:
        export(engine, config, job, base, Path(folder), result)
        if dist.get_rank() == 0:
            about = {"model": job.model, "base_model": job.base_model}
            asyncio.run(files.publish(storage, model_key(job.prefix), Path(folder), about))
            asyncio.run(put_json(storage, result_key(job.prefix), result))


def quiet_libraries() -> None:
    for name in ("DeepSpeed", "deepspeed", "transformers", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def run_steps(
    engine: Any,
    data: TrainingRows,
    config: TrainingConfig,
    storage: Storage,
    job: Job,
    writer: ProgressWriter,
    done: checkpoints.Checkpoint | None,
) -> dict[str, Any]:
    """All steps after the checkpoint's; returns what `result.json` says."""
    rank, world = dist.get_rank(), dist.get_world_size()
    tokens = done.tokens if done else 0
    before = done.compute_seconds if done else 0.0
    meter = ComputeMeter(engine.device, world)
    startup_seconds = time.time() - job.submit_time
    loss = math.nan
    for step in range((done.step if done else 0) + 1, config.max_steps + 1):
        started = time.monotonic()
        # Dropout depends on the step and the worker only, so that a resumed run draws what the first one would have.
        torch.manual_seed(abs(config.seed) + step * world + rank)
        rate = learning_rate(config, step)
        loss, norm = train_step(
            engine, data.batches(step, rank, engine.device), data.target_count(step), rate
        )
        if not math.isfinite(loss):
            raise CannotTrain(
                "TRAINING_DIVERGED", f"The loss of step {step} is {loss}; lower the learning rate ({rate:g})."
            )
        tokens += data.token_count(step)
        if rank == 0:
            writer.write(
                {
                    "step": step,
                    "loss": loss,
                    "learning_rate": rate,
                    "grad_norm": norm,
                    "tokens": tokens,
                    "tokens_per_second": data.token_count(step) / (time.monotonic() - started),
                    "time": time.time(),
                }
            )
        if step % config.save_steps == 0 or step == config.max_steps:
            saved = checkpoints.save(
                engine,
                storage,
                checkpoint_key(job.prefix, step),
                step=step,
                tokens=tokens,
                compute_seconds=before + meter.seconds(),
                adapter=config.method == "lora",
            )
            if saved:
                writer.write({"checkpoint": asdict(saved)})
    return {
        "loss": loss,
        "tokens": tokens,
        "compute_seconds": before + meter.seconds(),
        "startup_seconds": startup_seconds,
        "bf16": uses_bf16(config),
        "device": torch.cuda.get_device_name() if engine.device.type == "cuda" else "cpu",
        "parameter_count": trained_parameters(engine.module, config),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "deepspeed", "ray", "transformers", "peft")}
