"""CreateModel from the trainer's side: a plain function, run again from the top after a crash.

What is noted in SQL decides: packed rows are made once; a job that still runs, or has its result, is attached to; otherwise a new attempt
starts from the last checkpoint that was noted.
"""

import asyncio
import dataclasses
import time
from dataclasses import asdict
from typing import Any

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import Invalid
from servicekit.storage import Storage
from servicekit.worker import Deferred, Task, is_permanent
from services.trainer import exchange, files
from services.trainer.attempts import Attempts
from services.trainer.citing import cited
from services.trainer.datasource import named_datasets, prepared
from services.trainer.endpoints import refuse_training
from services.trainer.fitting import Fitted
from services.trainer.foresight import Foresight
from services.trainer.history import History
from services.trainer.jobs import Jobs
from services.trainer.models import Model, Models
from services.trainer.outages import OUTAGES, is_outage
from services.trainer.plan import Plan
from services.trainer.rates import Rates
from services.trainer.resuming import earlier, plan_from
from services.trainer.running import Running
from services.trainer.settings import TrainerSettings
from services.trainer.spec import resolve, to_proto, with_data
from services.trainer.summary import summary
from services.trainer.sweeping import sweep
from services.trainer.verifying import verify

OUTAGE_SECONDS = 10.0  # until storage that is away is asked again


class Trainings:
    """Fine-tunings of this service."""

    def __init__(
        self,
        settings: TrainerSettings,
        storage: Storage,
        models: Models,
        attempts: Attempts,
        history: History,
        jobs: Jobs,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.models = models
        self.history = history
        self.running = Running(settings, storage, models, attempts, jobs)
        self.foresight = Foresight(settings, storage, Rates(attempts.database))

    async def check(self, request: trainer_pb2.CreateModelRequest) -> tuple[Fitted, Model]:
        """What can be known at once: names, states, conflicts in the spec, whether it fits; what was left open is chosen."""
        spec = request.training
        for field, name in [("base_model", spec.base_model), *named_datasets(spec)]:
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
        if request.resume_from:
            config = dataclasses.replace((await earlier(self.models, request, base)).config, open_fields=())
        else:
            config = resolve(spec, base)
        return await self.foresight.fitted(config, base), base

    async def estimate(self, request: trainer_pb2.CreateModelRequest) -> common_pb2.Estimate:
        """Reads and packs the data; trains nothing, but for a trial of some steps where that is asked for."""
        fits, base = await self.check(request)
        async with prepared(
            request.training, fits.config, base, request.parent, self.storage, self.settings
        ) as data:
            complete = with_data(fits.config, data.summary.packed_row_count, data.summary.nearest_steps)
            return await self.foresight.estimate(fits, complete, base, data)

    async def create_model(self, task: Task, request: trainer_pb2.CreateModelRequest) -> Model:
        """Handler of the operation. On a cancellation the job is stopped; the last checkpoint stays. A storage that is away is waited for
        where there is something to lose."""
        try:
            return await self.created(task, request)
        except asyncio.CancelledError:
            if task.stopping == "cancelled":
                await self.ended_early(task)
            raise
        except OUTAGES as error:
            if is_outage(error) and task.notes.get("attempted"):
                await task.progress("waiting", message=f"object storage is away: {error}")
                raise Deferred(OUTAGE_SECONDS) from error
            raise

    async def created(self, task: Task, request: trainer_pb2.CreateModelRequest) -> Model:
        if "start_time" not in task.notes:
            await task.note(start_time=time.time())
        try:
            plan = await self.planned(task, request)
            base = await self.models.usable(request.training.base_model)
            prefix = await self.running.attached(task) or await self.running.launched(task, plan, base)
            result = await self.running.watched(task, prefix, plan.config.max_steps)
        except Exception as error:
            if is_permanent(error) and not is_outage(error):
                await self.ended_early(task)
            raise
        return await self.finished(task, request, Plan.of(task.notes), base, prefix, result)

    async def ended_early(self, task: Task) -> None:
        """Cancelled or failed for good: no process goes on; the last checkpoint stays, with the rows that it needs to go on."""
        if task.notes.get("job"):
            await self.running.left(task)
        if "packed_key" not in task.notes:
            return
        kept = [checkpoint["key"] for name in ("checkpoint", "best") if (checkpoint := task.notes.get(name))]
        await sweep(self.storage, task.target, [*kept, task.notes["packed_key"]] if kept else [])

    async def planned(self, task: Task, request: trainer_pb2.CreateModelRequest) -> Plan:
        """Checks the request and packs the rows once; later attempts find the plan noted, and hold to it whatever has changed since."""
        if "packed_key" in task.notes:
            return Plan.of(task.notes)
        fits, base = await self.check(request)
        if request.resume_from:
            await plan_from(task, await earlier(self.models, request, base), self.models)
            return Plan.of(task.notes)
        await task.progress("reading", message=" ".join(["reading and packing the rows.", *fits.notes]))
        async with prepared(
            request.training, fits.config, base, task.project, self.storage, self.settings
        ) as data:
            key = exchange.packed_key(task.prefix)
            stored = await self.storage.put_file(key, data.packed)
            complete = with_data(fits.config, data.summary.packed_row_count, data.summary.nearest_steps)
            await task.note(
                config=asdict(complete),
                data=asdict(data.summary),
                datasets=await cited(request.training, task.project, self.settings),
                packed_key=key,
                packed_sha256=stored.sha256,
            )
        return Plan.of(task.notes)

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
        model.training.CopyFrom(to_proto(config, model.training))
        model.adapter = config.method == "lora" and not config.merge_adapter
        model.architecture = base.architecture
        model.parameter_count = base.parameter_count if config.merge_adapter else result["parameter_count"]
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
        await self.foresight.learned(task.target, plan, base, result, result["step"])
        await verify(task, model, result, self.settings)
        model.paused = False
        # Under the fence: a ghost takes nothing away.
        await task.progress("finishing", message="the model is stored")
        await sweep(self.storage, task.target, [key])
        return model
