"""What the caller left open, chosen by the memory there is: micro-batch, gradient checkpointing, ZeRO stage, offload.

Tried in the order of what they cost in speed; the first recipe that fits is taken. Whatever is chosen, an optimizer step stays what
was asked for: the same rows, the same gradient.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from ingrain.units import size
from servicekit.errors import Invalid
from services.trainer.config import TrainingConfig
from services.trainer.machine import Machine
from services.trainer.memory import Memory, worker_memory
from services.trainer.shapes import Shape


@dataclass(frozen=True)
class Fitted:
    """The recipe with everything open chosen, what a worker then needs, and why: a sentence each."""

    config: TrainingConfig
    memory: Memory
    notes: tuple[str, ...]


def fitted(config: TrainingConfig, shape: Shape, machine: Machine) -> Fitted:
    """The first recipe of `candidates` that fits. Invalid TRAINING_DOES_NOT_FIT where none does."""
    there = machine.worker_bytes(config.num_workers)
    tried = []
    for candidate in candidates(config, machine.gpu):
        memory = worker_memory(candidate, shape, machine.gpu, machine.bf16(candidate))
        if memory.total <= there and memory.host <= machine.host_bytes(config.num_workers):
            return Fitted(
                candidate,
                memory,
                (fits_note(memory, machine, config.num_workers), *choices(config, candidate)),
            )
        tried.append((memory, candidate))
    raise does_not_fit(tried, there, machine, config)


def candidates(config: TrainingConfig, gpu: bool) -> Iterator[TrainingConfig]:
    """From the cheapest on: as it is; smaller micro-batches; activations computed again; more sharding; the optimizer's state in
    the machine's memory. Only open fields differ."""
    open_fields = config.open_fields
    stages = (
        [config.zero_stage, *range(config.zero_stage + 1, 4)]
        if "zero_stage" in open_fields and config.num_workers > 1 and not config.load_in_4bit
        else [config.zero_stage]
    )
    if config.offload_param == "cpu":
        stages = [3]
    offloads = ["none", "cpu"] if gpu and "offload_optimizer" in open_fields else [config.offload_optimizer]
    checkpointings = (
        [False, True] if "gradient_checkpointing" in open_fields else [config.gradient_checkpointing]
    )
    for offload in offloads:
        for stage in stages:
            if offload == "cpu" and stage == 0:
                # DeepSpeed offloads what ZeRO holds.
                if "zero_stage" not in open_fields:
                    continue
                stage = 2
            for checkpointing in checkpointings:
                for batch in micro_batches(config):
                    yield dataclasses.replace(
                        config,
                        zero_stage=stage,
                        offload_optimizer=offload,
                        gradient_checkpointing=checkpointing,
                        per_device_train_batch_size=batch,
                        gradient_accumulation_steps=config.per_device_train_batch_size
                        * config.gradient_accumulation_steps
                        // batch,
                    )


def micro_batches(config: TrainingConfig) -> list[int]:
    """The one asked for, else that and its halves that give the same rows of a step."""
    size = config.per_device_train_batch_size
    if "per_device_train_batch_size" not in config.open_fields:
        return [size]
    return [part for part in range(size, 0, -1) if size % part == 0]


def choices(asked: TrainingConfig, chosen: TrainingConfig) -> list[str]:
    """What differs from what would have been, in words."""
    said = []
    if chosen.per_device_train_batch_size != asked.per_device_train_batch_size:
        said.append(
            f"micro-batches of {chosen.per_device_train_batch_size} row(s), "
            f"{chosen.gradient_accumulation_steps} to a step, instead of {asked.per_device_train_batch_size}"
        )
    if chosen.gradient_checkpointing and not asked.gradient_checkpointing:
        said.append("gradient checkpointing")
    if chosen.zero_stage != asked.zero_stage:
        said.append(f"ZeRO stage {chosen.zero_stage} instead of {asked.zero_stage}")
    if chosen.offload_optimizer != asked.offload_optimizer:
        said.append("the optimizer's state in the machine's memory")
    if not said:
        return []
    return [f"Chosen because memory would not do otherwise: {'; '.join(said)}."]


def fits_note(memory: Memory, machine: Machine, workers: int) -> str:
    offloaded = f", and {size(memory.host)} of the machine's" if memory.host else ""
    return (
        f"A worker needs about {size(memory.total)} above its imports{offloaded} ({memory.largest}) and has "
        f"{machine.worker_has(workers)}: it fits."
    )


def does_not_fit(
    tried: list[tuple[Memory, TrainingConfig]], there: int, machine: Machine, config: TrainingConfig
) -> Invalid:
    """Says what the smallest recipe needs and what would help."""
    memory, smallest = min(tried, key=lambda pair: pair[0].total)
    return Invalid(
        "TRAINING_DOES_NOT_FIT",
        f"A worker has {machine.worker_has(config.num_workers)}; with {described(smallest)} it would still need {size(memory.total)} "
        f"({memory.largest})"
        + (f" and {size(memory.host)} of the machine's memory" if memory.host else "")
        + f". {'; '.join(remedies(config, smallest, machine.gpu))}.",
        field="training",
        worker_memory_bytes=memory.total,
        available_bytes=there,
    )


def described(config: TrainingConfig) -> str:
    parts = [
        f"micro-batches of {config.per_device_train_batch_size} row(s) of {config.max_length} tokens",
        f"ZeRO stage {config.zero_stage} on {config.num_workers} worker(s)",
    ]
    if config.gradient_checkpointing:
        parts.append("gradient checkpointing")
    if config.offload_optimizer == "cpu":
        parts.append("its optimizer offloaded")
    return ", ".join(parts)


def remedies(asked: TrainingConfig, smallest: TrainingConfig, gpu: bool) -> list[str]:
    """What the caller could change, most helpful first."""
    said = []
    if asked.method == "full":
        said.append("Train adapters (method LORA)")
    elif gpu and not asked.load_in_4bit:
        said.append("Keep the base in 4 bits (load_in_4bit)")
    if not smallest.gradient_checkpointing:
        said.append("set gradient_checkpointing")
    if smallest.per_device_train_batch_size > 1:
        said.append("lower per_device_train_batch_size and raise gradient_accumulation_steps")
    if smallest.max_length > 256:
        said.append("lower max_length")
    if gpu and smallest.offload_optimizer != "cpu":
        said.append("set offload_optimizer to cpu")
    said.append("use more workers" if smallest.num_workers == 1 else "use more workers, zero_stage 3")
    return [*said, "or take a machine with more memory"]
