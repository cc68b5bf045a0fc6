"""One Ray Train worker: model, engine, steps, export (legend: R packed rows, L tokens of a row, B rows of a micro-batch).

Needs an initialised torch process group and no Ray, so that tests run it bare.
"""

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from servicekit.storage import Storage, open_storage
from services.trainer import checkpoints, files, parity, saving, scratch
from services.trainer.checkpoints import Checkpoint
from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows, fetch_packed
from services.trainer.engine import load_model, new_engine, trained_parameters, uses_bf16
from services.trainer.exchange import Job, error_key, model_key, put_json, result_key, stopped_key
from services.trainer.export import export
from services.trainer.failures import told
from services.trainer.metering import Meter
from services.trainer.outages import OUTAGES, within
from services.trainer.progress import ProgressWriter
from services.trainer.reporters import reporting
from services.trainer.saving import Saver
from services.trainer.settings import TrainerSettings
from services.trainer.steps import Outcome, Run, run_steps
from services.trainer.stopping import StopWatch

KINDS = (saving.KIND, "load")  # of scratch folders


def loop(description: dict[str, Any]) -> None:
    """Trains `Job(**description)`. Leaves under its prefix `model/` and `result.json`, or `stopped.json` where it was to end early,
    or `error.json` with what to do."""
    quiet_libraries()
    job = Job(**description)
    settings = TrainerSettings()
    storage = open_storage(settings)
    torch.set_num_threads(job.threads)
    try:
        train(job, storage, settings)
    except Exception as error:
        # Any worker tells: a group that lost one of its workers has no first one to tell it.
        if wrong := told(error, job.training_config()):
            with contextlib.suppress(*OUTAGES):
                asyncio.run(put_json(storage, error_key(job.prefix), wrong))
        raise
    dist.barrier()
    for kind in KINDS:
        shutil.rmtree(scratch.attempt_folder(settings.scratch, kind, job.prefix), ignore_errors=True)


def train(job: Job, storage: Storage, settings: TrainerSettings) -> None:
    config = job.training_config()
    scratch.sweep(settings.scratch, KINDS, job.prefix)
    import_all(config)
    meter = Meter(device(), dist.get_world_size(), uses_bf16(config))
    torch.manual_seed(config.seed)
    base = asyncio.run(
        within(
            settings.storage_wait_s,
            lambda: files.fetch(storage, job.base_key, settings.scratch / "models" / job.base_sha256),
        )
    )
    model = load_model(base, config)
    data = TrainingRows(arrays_of(job, storage, model, config), config)
    engine = new_engine(model, config)
    meter.model(engine.module, config)
    evaluator = new_evaluator(engine, data, config)
    done = Checkpoint(**job.checkpoint) if job.checkpoint else None
    if done:
        checkpoints.load(engine, storage, done, load_folder(job, settings))
        if evaluator and done.evaluation:
            evaluator.restore(done.evaluation)
    writer = ProgressWriter(storage, job.prefix, settings.storage_wait_s)
    saver = Saver(engine, storage, job, writer, settings)
    watch = StopWatch(storage, job)
    run = Run(engine, data, config, meter, writer, saver, watch, evaluator)
    startup_seconds = time.time() - job.submit_time
    reporters = settings.reporters if dist.get_rank() == 0 else ()
    reports = reporting(reporters, job, storage, settings.storage_wait_s)
    with writer.open(), saver.open(), watch.open(), reports as report:
        writer.listeners.append(report)
        outcome = run_steps(run, done)
        if not outcome.stopped:
            best_step = load_best(run, outcome, storage, job, settings)
            result = result_of(run, outcome, job) | {
                "startup_seconds": startup_seconds,
                "best_step": best_step,
            }
            result["parity"] = parity.fixed_logprobs(engine, config, data)
            publish(engine, config, job, base, result, storage, settings)
    # Last of all: whoever finds one of these finds all steps and checkpoints too.
    if dist.get_rank() == 0:
        key = stopped_key(job.prefix) if outcome.stopped else result_key(job.prefix)
        end = {"reason": outcome.stopped, "step": outcome.step} if outcome.stopped else result
        asyncio.run(within(settings.storage_wait_s, lambda: put_json(storage, key, end)))


def import_all(config: TrainingConfig) -> None:
    """What is imported late otherwise: memory is counted from here on."""
    with contextlib.suppress(ImportError):
        import deepspeed  # noqa: F401
    if config.method == "lora":
        import peft  # noqa: F401


def quiet_libraries() -> None:
    for name in ("DeepSpeed", "deepspeed", "transformers", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def device() -> torch.device:
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def arrays_of(job: Job, storage: Storage, model: Any, config: TrainingConfig) -> dict[str, Any]:
    """The packed rows and, where the model learns from a teacher, what that says of their targets."""
    arrays = fetch_packed(storage, job)
    if config.distillation_temperature:
        from services.trainer.distillation import teacher_targets

        arrays = arrays | teacher_targets(model, arrays, config, dist.get_rank(), dist.get_world_size())
    return arrays


def new_evaluator(engine: Any, data: TrainingRows, config: TrainingConfig) -> Any:
    if not config.evaluates:
        return None
    from services.trainer.evaluating import Evaluator

    return Evaluator(engine, data, config)


def load_best(run: Run, outcome: Outcome, storage: Storage, job: Job, settings: TrainerSettings) -> int:
    """Puts the best step's weights into the engine where they are wanted; the step whose weights are there then. A collective."""
    wanted = run.evaluator.best_step if run.evaluator and run.config.load_best_model_at_end else 0
    if wanted in (0, outcome.step):
        return outcome.step
    run.saver.finish()
    noted = [Checkpoint(**values) for values in (job.best, job.checkpoint) if values]
    known = {checkpoint.step: checkpoint for checkpoint in noted} | run.saver.reported
    found = [known.get(wanted)]
    dist.broadcast_object_list(found, 0)
    if found[0] is None:  # the scratch disk had no room for it, which was told
        return outcome.step
    checkpoints.load(run.engine, storage, found[0], load_folder(job, settings))
    return wanted


def load_folder(job: Job, settings: TrainerSettings) -> Path:
    return scratch.attempt_folder(settings.scratch, "load", job.prefix)


def result_of(run: Run, outcome: Outcome, job: Job) -> dict[str, Any]:
    """A collective."""
    engine, config = run.engine, run.config
    return {
        "loss": outcome.loss,
        "step": outcome.step,
        "tokens": outcome.tokens,
        "compute_seconds": outcome.compute_seconds + sum(trial["compute_seconds"] for trial in job.searched),
        **run.meter.result(),
        "learning_rate": config.learning_rate,
        "measurements": run.evaluator.measurements if run.evaluator else [],
        "bf16": uses_bf16(config),
        "device": torch.cuda.get_device_name() if engine.device.type == "cuda" else "cpu",
        "parameter_count": trained_parameters(engine.module, config),
        "versions": versions(),
    }


def publish(
    engine: Any,
    config: TrainingConfig,
    job: Job,
    base: Path,
    result: dict[str, Any],
    storage: Storage,
    settings: TrainerSettings,
) -> None:
    """The model's files, from the first worker. A collective."""
    with tempfile.TemporaryDirectory(prefix="export-", dir=settings.scratch) as folder:
        export(engine, config, job, base, Path(folder), result)
        if dist.get_rank() == 0:
            about = {"model": job.model, "base_model": job.base_model}
            asyncio.run(
                within(
                    settings.storage_wait_s,
                    lambda: files.publish(storage, model_key(job.prefix), Path(folder), about),
                )
            )


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "deepspeed", "ray", "transformers", "peft")}
