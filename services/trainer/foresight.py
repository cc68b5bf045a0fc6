"""Before a training: does it fit and how, and what will it take. After it: what it took, for the next one."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import structlog

from ingrain.units import size
from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.identity import is_service
from servicekit.prices import load_prices
from servicekit.storage import Storage
from services.trainer import files
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.datasource import Prepared
from services.trainer.estimate import Work, estimate, priced, steps_beside, time_of
from services.trainer.fitting import Fitted, fitted
from services.trainer.kernels import Texts, kernel_bytes
from services.trainer.machine import Machine, machine_of
from services.trainer.memory import Memory, worker_memory
from services.trainer.plan import Plan
from services.trainer.rates import Found, Rate, Rates, exact_key
from services.trainer.settings import TrainerSettings
from services.trainer.shapes import Shape, shape_of
from services.trainer.trial import TrialTask

log = structlog.get_logger()
TRIAL_MODEL_BYTES = 8 << 30  # a larger one takes longer to load than a trial may
LOCAL = ("127.0.0.1", "localhost", "::1")


class Foresight:
    """Of one trainer."""

    def __init__(self, settings: TrainerSettings, storage: Storage, rates: Rates) -> None:
        self.settings = settings
        self.storage = storage
        self.rates = rates
        self.prices = load_prices(settings.prices)
        self.trying = asyncio.Lock()  # two trials side by side would measure each other

    async def fitted(self, config: TrainingConfig, base: trainer_pb2.Model) -> Fitted:
        """Everything left open is chosen. Invalid TRAINING_DOES_NOT_FIT."""
        machine = await self.machine()
        return fitted(config, await shape_of(base, self.storage, self.settings), machine)

    async def estimate(
        self, fits: Fitted, config: TrainingConfig, base: trainer_pb2.Model, data: Prepared
    ) -> common_pb2.Estimate:
        """`config`: that of `fits`, with its steps. Takes some steps where nothing like it was measured."""
        machine, shape = await self.machine(), await shape_of(base, self.storage, self.settings)
        work = Work.of(config, shape, data.summary)
        found = await self.found(config, base, data, machine, shape)
        took = time_of(
            config,
            shape,
            work,
            found,
            machine.gpu,
            self.settings.threads_per_worker,
            self.settings.device_peak_flops,
        )
        texts = Texts.of(data.summary)
        reckoned = worker_memory(config, shape, machine.gpu, machine.bf16(config), texts)
        memory = reckoned.total
        notes = list(fits.notes)
        if config.distillation_temperature:
            kept = 8 * config.distillation_top_k * data.summary.row_count * data.summary.mean_row_tokens
            notes.append(
                "The teacher's reading of documents and rows is not in the time unless the very step was measured, nor what it gives, at most "
                f"{size(round(kept))} on each worker, in the memory."
            )
        if found and found.exact and found.rate.memory_bytes:
            memory, by = found.rate.memory_bytes, f"by {found.source}"
            if found.source == "trial":
                memory, by = memory_after_trial(found.rate, reckoned, config, texts), "by a trial here"
            notes.append(f"A worker's memory was measured {by}: {size(memory)} above its imports.")
        price, of = priced(took.compute_seconds, machine.device, self.prices)
        return estimate(config, data.summary, work, took, memory, price, [*notes, *of])

    async def found(
        self,
        config: TrainingConfig,
        base: trainer_pb2.Model,
        data: Prepared,
        machine: Machine,
        shape: Shape,
    ) -> Found | None:
        """The best rate there is, made by a trial where that may be."""
        key = exact_key(base.sha256, config)
        if found := await self.rates.exact(key):
            return found
        if self.may_try(base, config):
            async with self.trying:
                await self.tried(key, config, base, data)
            if found := await self.rates.exact(key):
                return found
        dtype = "bfloat16" if machine.bf16(config) else "float32"
        return await self.rates.similar(machine.gpu, dtype, config.method, shape.parameter_count)

    def may_try(self, base: trainer_pb2.Model, config: TrainingConfig) -> bool:
        """On the machine that trains, for a caller who asks for this training; a study that asks for all of its steps only counts."""
        wanted = self.settings.estimate_by_trial
        if wanted is None:
            local = urlparse(self.settings.ray_dashboard).hostname in LOCAL
            wanted = local and self.settings.ray_job_template is None
        enough = config.num_workers * self.settings.threads_per_worker <= (os.cpu_count() or 1)
        learns_tokens = (
            not config.distillation_temperature
        )  # a teacher would have to read its documents first
        small = base.size_bytes <= TRIAL_MODEL_BYTES
        return wanted and enough and small and learns_tokens and not is_service()

    async def tried(self, key: str, config: TrainingConfig, base: trainer_pb2.Model, data: Prepared) -> None:
        """Notes what a trial measured, where it did within its time."""
        folder = self.settings.scratch / "models" / base.sha256
        home = files.home(self.storage, base)
        try:
            async with asyncio.timeout(self.settings.trial_limit_s):
                await files.fetch(self.storage, home, folder, settings=self.settings)
        except TimeoutError:
            return
        measured = await run_trial(config, folder, data.packed, self.settings)
        if measured is None:
            return
        await self.rates.note(
            key,
            "trial",
            Rate(**measured["rate"]),
            device=measured["device"],
            dtype="bfloat16" if measured["bf16"] else "float32",
            method=config.method,
            parameter_count=base.parameter_count,
            now=time.time(),
        )

    async def learned(
        self, model: str, plan: Plan, base: trainer_pb2.Model, result: dict[str, Any], done_steps: int
    ) -> None:
        """Notes what the steps of a finished training took."""
        if "step_seconds" not in result:
            return
        await self.rates.note(
            exact_key(base.sha256, plan.config),
            model,
            rate_of(plan.config, plan.data, result, done_steps),
            device=result["device"],
            dtype="bfloat16" if result["bf16"] else "float32",
            method=plan.config.method,
            parameter_count=base.parameter_count,
            now=time.time(),
        )

    async def machine(self) -> Machine:
        return await asyncio.to_thread(machine_of, self.settings)


def rate_of(config: TrainingConfig, data: DataSummary, result: Mapping[str, Any], done_steps: int) -> Rate:
    """What a finished training's steps took, and what it took once. Searches and measurements are reckoned as steps: another training
    of the same step may have none."""
    workers = config.num_workers
    steps = done_steps + steps_beside(config, data)
    once = result["compute_seconds"] / workers - steps * result["step_seconds"]
    return Rate(
        step_seconds=result["step_seconds"],
        step_flops=result["step_flops"],
        once_seconds=max(0.0, once),
        startup_seconds=result["startup_seconds"],
        memory_bytes=result.get("worker_memory_bytes", 0),
        workers=workers,
    )


def memory_after_trial(rate: Rate, reckoned: Memory, config: TrainingConfig, texts: Texts) -> int:
    """What a trial measured, with what grows on after its few steps: as much of it as the trial had of what was reckoned until then."""
    if not reckoned.kernels:
        return rate.memory_bytes
    until_then = kernel_bytes(config, texts, rate.trial_steps)
    compiled = rate.memory_bytes - (reckoned.total - reckoned.kernels)
    share = min(1.0, max(0.0, compiled / until_then))
    return round(rate.memory_bytes + share * max(0.0, reckoned.kernels - until_then))


async def run_trial(
    config: TrainingConfig, base: Path, packed: Path, settings: TrainerSettings
) -> dict[str, Any] | None:
    """What the trial's first worker measured; None where it measured nothing in its time. Its processes end with this call."""
    with tempfile.TemporaryDirectory(prefix="trial-", dir=settings.scratch) as name:
        folder = Path(name)
        (folder / "packed.safetensors").symlink_to(packed.absolute())
        task = TrialTask(str(base), asdict(config), settings.threads_per_worker)
        (folder / "task.json").write_text(json.dumps(asdict(task)))
        threads = str(settings.threads_per_worker)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        with (folder / "stderr").open("wb") as errors:
            workers = [
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "services.trainer.trial",
                    str(folder),
                    str(rank),
                    env=environment,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=errors,
                )
                for rank in range(config.num_workers)
            ]
            try:
                async with asyncio.timeout(settings.trial_limit_s):
                    await asyncio.gather(*(worker.wait() for worker in workers))
            except TimeoutError:
                log.info("a trial was ended at its limit", limit_s=settings.trial_limit_s)
            finally:
                for worker in workers:
                    if worker.returncode is None:
                        worker.kill()
                        await worker.wait()
        measured = folder / "measured.json"
        if measured.is_file():
            return json.loads(measured.read_text())
        lines = (folder / "stderr").read_text(errors="replace").strip().splitlines()
        log.warning("a trial measured nothing", error=lines[-1] if lines else "no time")
        return None
