"""Trainings that are paused and go on: what callers ask for is kept in the model's row, where the training at work finds it."""

import dataclasses

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import Invalid, WrongState
from services.trainer.config import TrainingConfig
from services.trainer.models import CREATING, Model, Models


async def pause(models: Models, name: str) -> Model:
    """Asks the training to stop after its next step. Asked again it does no harm."""

    def change(model: Model) -> None:
        refuse_ended(model)
        model.paused = True

    return await models.rows.update(name, change)


async def resume(models: Models, request: trainer_pb2.ResumeTrainingRequest) -> Model:
    """Lets a paused training go on, with further time and another number of workers where asked for."""

    def change(model: Model) -> None:
        refuse_ended(model)
        spec = model.training
        wanted = trainer_pb2.TrainingSpec()
        wanted.CopyFrom(spec)
        set_duration(wanted, request)
        if request.num_workers:
            check_workers(wanted, request.num_workers)
            wanted.num_workers = request.num_workers
        if not model.paused:
            # The same request sent again; what it asks for is so already.
            if request.num_workers in (0, spec.num_workers) and not request.HasField("max_duration"):
                return
            raise WrongState(
                "TRAINING_NOT_PAUSED",
                f"{model.name} is not paused; pause it first to change its workers or its time.",
            )
        model.training.CopyFrom(wanted)
        model.paused = False

    return await models.rows.update(request.name, change)


def set_duration(spec: trainer_pb2.TrainingSpec, request: trainer_pb2.ResumeTrainingRequest) -> None:
    spec.ClearField("max_duration")
    if request.HasField("max_duration"):
        spec.max_duration.CopyFrom(request.max_duration)


def refuse_ended(model: Model) -> None:
    if model.state != CREATING or not model.base_model:
        state = common_pb2.State.Name(model.state)
        raise WrongState(
            "TRAINING_NOT_RUNNING",
            f"{model.name} is {state}; only a training at work can be paused or resumed.",
            state=state,
        )


def check_workers(spec: trainer_pb2.TrainingSpec, workers: int) -> None:
    """Invalid where the rows of a step cannot be dealt out evenly. `spec` is complete once the rows are packed."""
    if not spec.per_device_train_batch_size or not spec.num_workers:
        raise WrongState(
            "TRAINING_NOT_PLANNED", "The training has not read its rows yet; try again in a moment."
        )
    rows = spec.num_workers * spec.per_device_train_batch_size * max(1, spec.gradient_accumulation_steps)
    if rows % workers:
        fitting = [str(count) for count in range(1, min(rows, 1024) + 1) if rows % count == 0]
        raise Invalid(
            "WORKERS_DO_NOT_DIVIDE_ROWS",
            f"A step has {rows} packed rows, which {workers} workers cannot share evenly; these can: {', '.join(fitting)}.",
            field="num_workers",
            rows_per_step=rows,
        )


def as_asked(config: TrainingConfig, spec: trainer_pb2.TrainingSpec) -> TrainingConfig:
    """The recipe with the workers and the time that the model's row says now; a step keeps its rows, a worker's memory does not grow."""
    duration_s = spec.max_duration.ToNanoseconds() / 1e9 if spec.HasField("max_duration") else 0.0
    config = dataclasses.replace(config, max_duration_s=duration_s)
    workers = spec.num_workers or config.num_workers
    if workers == config.num_workers:
        return config
    share = config.rows_per_step // workers
    size = max(size for size in range(1, config.per_device_train_batch_size + 1) if share % size == 0)
    return dataclasses.replace(
        config,
        num_workers=workers,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=share // size,
    )
