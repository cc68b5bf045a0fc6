"""A new training that goes on from the checkpoint which a failed or cancelled one left (`CreateModelRequest.resume_from`)."""

import dataclasses
import json
from typing import Any

import sqlalchemy as sa

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import Invalid, WrongState
from servicekit.tables import operation as table
from servicekit.worker import Task
from services.trainer import exchange
from services.trainer.config import TrainingConfig
from services.trainer.models import Model, Models
from services.trainer.pausing import as_asked, check_workers
from services.trainer.plan import Plan
from services.trainer.spec import resolve, with_data

# What the state does not depend on; all else is as it was.
MAY_DIFFER = (
    "learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon",
    "max_steps", "save_steps", "max_duration", "num_workers", "gradient_checkpointing",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What there is to go on from. `config` is complete."""

    config: TrainingConfig
    spec: trainer_pb2.TrainingSpec
    notes: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.notes["checkpoint"]["step"])


async def earlier(models: Models, request: trainer_pb2.CreateModelRequest, base: Model) -> Earlier:
    """Invalid or WrongState where it cannot be gone on with as the request wants."""
    name = request.resume_from
    if not name.startswith(f"{request.parent}/"):
        raise Invalid("OTHER_PROJECT", f"{name} is not in {request.parent}.", field="resume_from")
    model = await models.rows.get(name)
    notes = await notes_of(models, name)
    if model.state != common_pb2.FAILED or not notes.get("checkpoint"):
        state = common_pb2.State.Name(model.state)
        raise WrongState(
            "NO_CHECKPOINT_KEPT",
            f"{name} is {state} and has no checkpoint to go on from; only a training that failed or was cancelled after its first "
            "checkpoint leaves one.",
            model=name,
        )
    spec = merged(model.training, request.training)
    plan = Plan.of(notes)
    if spec.num_workers != plan.config.num_workers:
        check_workers(model.training, spec.num_workers)
    # Workers come last: a step has as many rows as before.
    before = resolve(with_workers(spec, plan.config.num_workers), base)
    config = as_asked(with_data(before, plan.data.packed_row_count, plan.data.nearest_steps), spec)
    found = Earlier(config, spec, notes)
    if config.max_steps < found.step:
        raise Invalid(
            "STEPS_BEFORE_CHECKPOINT",
            f"max_steps {config.max_steps} is less than the checkpoint's {found.step}; raise it.",
            field="training.max_steps",
        )
    return found


async def notes_of(models: Models, name: str) -> dict[str, Any]:
    """What the operation that made the model noted; empty where it is forgotten."""
    query = sa.select(table.c.notes).where(table.c.target == name, table.c.verb == "CreateModel")
    latest = query.order_by(table.c.sequence.desc()).limit(1)
    notes = await models.rows.database.run(lambda connection: connection.execute(latest).scalar())
    return json.loads(notes) if notes else {}


def merged(known: trainer_pb2.TrainingSpec, wanted: trainer_pb2.TrainingSpec) -> trainer_pb2.TrainingSpec:
    """The earlier training's complete spec with what the request changes. Invalid where that may not change."""
    spec = trainer_pb2.TrainingSpec()
    spec.CopyFrom(known)
    # Said by the platform, not asked for: as requests they would contradict each other.
    spec.ClearField("max_duration")
    if spec.max_steps:
        spec.ClearField("num_train_epochs")
    if list(spec.target_modules) == ["all-linear"]:
        spec.ClearField("target_modules")
    for field, value in wanted.ListFields():
        if field.name in MAY_DIFFER:
            spec.ClearField(field.name)
            spec.MergeFrom(trainer_pb2.TrainingSpec(**{field.name: value}))
        elif field.name == "datasets":
            if [d.dataset for d in known.datasets] != [d.dataset for d in wanted.datasets]:
                raise differs(field.name)
        elif value != getattr(known, field.name):
            raise differs(field.name)
    return spec


def differs(name: str) -> Invalid:
    return Invalid(
        "RESUMED_SPEC_DIFFERS",
        f"{name} is not what it was in the training to go on from; leave it out. These may differ: {', '.join(MAY_DIFFER)}.",
        field=f"training.{name}",
    )


def with_workers(spec: trainer_pb2.TrainingSpec, workers: int) -> trainer_pb2.TrainingSpec:
    copy = trainer_pb2.TrainingSpec()
    copy.CopyFrom(spec)
    copy.num_workers = workers
    return copy


async def plan_from(task: Task, found: Earlier, models: Models) -> None:
    """Notes what attempts need: the packed rows as this training's own, and the checkpoint where it is."""
    key = exchange.packed_key(task.prefix)
    stored = await models.storage.put(key, models.storage.stream(found.notes["packed_key"]))
    await task.note(
        config=dataclasses.asdict(found.config),
        data=found.notes["data"],
        datasets=found.notes.get("datasets", []),
        packed_key=key,
        packed_sha256=stored.sha256,
        checkpoint=found.notes["checkpoint"],
        best=found.notes.get("best"),
    )
