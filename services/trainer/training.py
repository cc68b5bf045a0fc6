"""CreateModel from the trainer's side: a plain function, run again from the top after a crash.

What is noted in SQL decides: packed rows are made once; a job that still runs, or has its result, is attached to; otherwise a new attempt
starts from the last checkpoint that was noted.
"""

import asyncio
import dataclasses
import time
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import DomainError, Exhausted, Invalid, Unavailable
from servicekit.storage import Storage
from servicekit.worker import Task
from services.trainer import exchange, files
from services.trainer.attempts import Attempt, Attempts
from services.trainer.citing import cited
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.datasource import prepared
from services.trainer.endpoints import refuse_training
from services.trainer.foresight import Foresight
from services.trainer.history import History
from services.trainer.jobs import ENDED, RayJobs
from services.trainer.models import Model, Models
from services.trainer.progress import ProgressReader
from services.trainer.rates import Rates
from services.trainer.settings import TrainerSettings
from services.trainer.spec import resolve, to_proto, with_data
from services.trainer.summary import summary
from services.trainer.verifying import verify

log = structlog.get_logger()
POLL_SECONDS = 0.5
STATUS_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """What every attempt of the operation does."""

    config: TrainingConfig
    data: DataSummary
    packed_key: str
    packed_sha256: str

    @staticmethod
    def of(notes: dict[str, Any]) -> "Plan":
        return Plan(
            TrainingConfig.from_json(notes["config"]),
            DataSummary(**notes["data"]),
            notes["packed_key"],
            notes["packed_sha256"],
        )


class Trainings:
    """Fine-tunings of this service."""

    def __init__(
        self,
        settings: TrainerSettings,
        storage: Storage,
        models: Models,
        attempts: Attempts,
        history: History,
        jobs: RayJobs,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.models = models
        self.attempts = attempts
        self.history = history
        self.jobs = jobs
        self.foresight = Foresight(settings, storage, Rates(attempts.database))

    async def check(self, request: trainer_pb2.CreateModelRequest) -> tuple[TrainingConfig, Model]:
        """What can be known at once: names, states, conflicts in the spec."""
        spec = request.training
        for field, name in [
            ("base_model", spec.base_model),
            *(("datasets", dataset.dataset) for dataset in spec.datasets),
        ]:
            if not name.startswith(f"{request.parent}/"):
                raise Invalid(
                    "OTHER_PROJECT",
                    f"{name} is not in {request.parent}; model and data of a training are in one project.",
                    field=f"training.{field}",
                )
        base = await self.models.usable(spec.base_model)
        refuse_training(base)
        if base.adapter:
            raise Invalid(
                "BASE_IS_ADAPTER",
                f"{base.name} is an adapter of {base.base_model}; train from that model.",
                field="training.base_model",
                base_model=base.base_model,
            )
        return resolve(spec, base), base

    async def estimate(self, request: trainer_pb2.CreateModelRequest) -> common_pb2.Estimate:
        """Reads and packs the data, trains nothing."""
        config, base = await self.check(request)
        fits = await self.foresight.fitted(config, base)
        async with prepared(
            request.training, config, base, request.parent, self.storage, self.settings
        ) as data:
            complete = with_data(fits.config, data.summary.packed_row_count, data.summary.nearest_steps)
            return await self.foresight.estimate(fits, complete, base, data)

    async def create_model(self, task: Task, request: trainer_pb2.CreateModelRequest) -> Model:
        """Handler of the operation. On a cancellation the job is stopped; the last checkpoint stays."""
        if "start_time" not in task.notes:
            await task.note(start_time=time.time())
        config, base = await self.check(request)
        plan = await self.planned(task, request, config, base)
        try:
            prefix = await self.attached(task) or await self.launched(task, plan, base)
            result = await self.watched(task, prefix, plan.config.max_steps)
        except asyncio.CancelledError:
            if task.stopping == "cancelled" and "job" in task.notes:
                await self.jobs.stop(task.notes["job"])
            raise
        return await self.finished(task, request, plan, base, prefix, result)

    async def planned(
        self, task: Task, request: trainer_pb2.CreateModelRequest, config: TrainingConfig, base: Model
    ) -> Plan:
        """Packs the rows once; later attempts find them noted."""
        if "packed_key" not in task.notes:
            await task.progress("reading", message="reading and packing the rows")
            async with prepared(
                request.training, config, base, task.project, self.storage, self.settings
            ) as data:
                key = exchange.packed_key(task.prefix)
                stored = await self.storage.put_file(key, data.packed)
                complete = with_data(config, data.summary.packed_row_count, data.summary.nearest_steps)
                await task.note(
                    config=asdict(complete),
                    data=asdict(data.summary),
                    datasets=await cited(request.training, task.project, self.settings),
                    packed_key=key,
                    packed_sha256=stored.sha256,
                )
        return Plan.of(task.notes)

    async def attached(self, task: Task) -> str:
        """The prefix of an earlier attempt whose job goes on or has done its work; nothing where there is none."""
        prefix, job = task.notes.get("prefix", ""), task.notes.get("job", "")
        if not job:
            return ""
        if await exchange.get_json(self.storage, exchange.result_key(prefix)) is not None:
            return prefix
        failed = await exchange.get_json(self.storage, exchange.error_key(prefix)) is not None
        if not failed and await self.jobs.status(job) not in ENDED:
            log.info("attached to a running job", job=job)
            return prefix
        # Two attempts never train side by side; a job that has told its error may still be ending.
        await self.jobs.stop(job)
        await self.note_checkpoints(task, await ProgressReader(self.storage, prefix).read())
        return ""

    async def launched(self, task: Task, plan: Plan, base: Model) -> str:
        """Notes the job, then submits it: a crash in between leaves a note of a job that Ray does not know."""
        checkpoint = task.notes.get("checkpoint")
        first_step = (checkpoint["step"] if checkpoint else 0) + 1
        job = exchange.Job(
            prefix=task.prefix,
            model=task.target,
            base_model=base.name,
            base_key=files.home(self.storage, base),
            base_sha256=base.sha256,
            config=asdict(plan.config),
            packed_key=plan.packed_key,
            packed_sha256=plan.packed_sha256,
            datasets=task.notes.get("datasets", []),
            checkpoint=checkpoint,
            submit_time=time.time(),
            threads=self.settings.threads_per_worker,
        )
        submission_id = f"{task.name.rsplit('/', 1)[-1]}-{task.fence}"
        await task.progress(
            "starting", message=f"starting {plan.config.num_workers} worker(s) from step {first_step}"
        )
        await exchange.put_job(self.storage, job)
        await self.attempts.add(task.target, Attempt(task.prefix, first_step, plan.config.max_steps))
        await task.note(job=submission_id, prefix=task.prefix)
        await self.jobs.submit(submission_id, task.prefix)
        return task.prefix

    async def watched(self, task: Task, prefix: str, step_count: int) -> dict[str, Any]:
        """Follows the job to its result. Its own failure is told by `error.json`; an end without either is a crash."""
        reader = ProgressReader(self.storage, prefix)
        job, asked, begun = task.notes["job"], 0.0, False
        while True:
            lines = await reader.read()
            await self.note_checkpoints(task, lines)
            if steps := [line for line in lines if "step" in line]:
                last = steps[-1]
                begun = True
                await task.progress("training", last["step"], step_count, "steps", f"loss {last['loss']:.4f}")
            elif not begun:
                await self.tell_waiting(task, prefix)
            ended = False
            if time.monotonic() - asked > STATUS_SECONDS:
                asked = time.monotonic()
                ended = await self.jobs.status(job) in ENDED
            if result := await exchange.get_json(self.storage, exchange.result_key(prefix)):
                return result
            if error := await exchange.get_json(self.storage, exchange.error_key(prefix)):
                await self.note_checkpoints(task, await reader.read())
                raise as_domain_error(error)
            if ended:
                await self.note_checkpoints(task, await reader.read())
                log.warning("job ended without a result", job=job, log=await self.jobs.log_tail(job))
                raise Unavailable(
                    "TRAINING_INTERRUPTED",
                    "The training's processes ended before it was done; the next attempt goes on from the last checkpoint.",
                )
            await asyncio.sleep(POLL_SECONDS)

    async def tell_waiting(self, task: Task, prefix: str) -> None:
        """Says what the job's driver waits for, until it waits no longer."""
        if waiting := await exchange.get_json(self.storage, exchange.waiting_key(prefix)):
            if await exchange.get_json(self.storage, exchange.started_key(prefix)) is None:
                await task.progress("waiting", message=waiting["message"])
            else:
                await task.progress("starting", message="starting the workers")

    async def note_checkpoints(self, task: Task, lines: list[dict[str, Any]]) -> None:
        """Commits the newest checkpoint to SQL, then forgets the one that it replaces."""
        newest = max(
            (line["checkpoint"] for line in lines if "checkpoint" in line),
            key=lambda checkpoint: checkpoint["step"],
            default=None,
        )
        old = task.notes.get("checkpoint")
        if newest is None or (old and old["step"] >= newest["step"]):
            return
        await task.note(checkpoint=newest)
        if old:
            await self.forget(old)

    async def forget(self, checkpoint: dict[str, Any]) -> None:
        for file in checkpoint["files"]:
            await self.storage.delete(f"{checkpoint['key']}/{file['name']}")

    async def finished(
        self,
        task: Task,
        request: trainer_pb2.CreateModelRequest,
        plan: Plan,
        base: Model,
        prefix: str,
        result: dict[str, Any],
    ) -> Model:
        """The model as it becomes ACTIVE."""
        model = await self.models.rows.get(task.target)
        config = dataclasses.replace(plan.config, bf16=result["bf16"])
        key = exchange.model_key(prefix)
        stored = await files.read_files(self.storage, key)
        model.base_model = base.name
        model.training.CopyFrom(to_proto(config, request.training))
        model.adapter = config.method == "lora" and not config.merge_adapter
        model.architecture = base.architecture
        model.parameter_count = (
            base.parameter_count if config.merge_adapter else result["parameter_count"]
        )
        model.context_window = base.context_window
        model.chat_template = base.chat_template
        model.domain = base.domain
        model.layer_count = base.layer_count
        model.hidden_size = base.hidden_size
        model.uri = self.storage.uri(key)
        model.sha256 = files.digest(stored)
        model.size_bytes = sum(file.size_bytes for file in stored)
        losses = await self.history.losses(task.target)
        model.summary.CopyFrom(
            summary(plan.config, plan.data, base, result, losses, time.time() - task.notes["start_time"])
        )
        await verify(task, model, result, self.settings)
        if checkpoint := task.notes.get("checkpoint"):
            await self.forget(checkpoint)
        return model


def as_domain_error(error: dict[str, Any]) -> DomainError:
    """The job's `error.json`: what is permanent fails the operation, anything else is tried again."""
    reason, message = error["reason"], error["message"]
    if reason == "NO_RAY_RESOURCES":
        return Exhausted(reason, message)
    if error["permanent"]:
        return Invalid(reason, message, field="training")
    return Unavailable(reason, message)
