"""What a worker's error means to who asked for the training: its reason and what to do (`error.json`)."""

import errno
from typing import Any

import torch

from services.trainer.config import TrainingConfig
from services.trainer.engine import CannotTrain
from services.trainer.exchange import OUT_OF_MEMORY

# How torch's CPU allocator says it: a RuntimeError without a class of its own.
ALLOCATOR_TEXTS = ("DefaultCPUAllocator", "not enough memory", "CUDA out of memory")
FULL_DISK_TEXTS = ("No space left", "PytorchStreamWriter failed", "unexpected pos")


class Interrupted(Exception):
    """The attempt ends here, another one may do better. `reason` is UPPER_SNAKE, `message` says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


def told(error: BaseException, config: TrainingConfig) -> dict[str, Any] | None:
    """`error.json`; None for surprises, which the driver tells."""
    if isinstance(error, CannotTrain):
        return {"reason": error.reason, "message": error.message, "permanent": True}
    if isinstance(error, Interrupted):
        return {"reason": error.reason, "message": error.message, "permanent": False}
    if is_out_of_memory(error):
        message = f"A worker ran out of memory. {memory_advice(config)}"
        return {"reason": OUT_OF_MEMORY, "message": message, "permanent": False}
    if is_full_disk(error):
        message = "A worker's scratch disk is full. Free some space there, or point INGRAIN_SCRATCH to a larger disk."
        return {"reason": "SCRATCH_FULL", "message": message, "permanent": False}
    return None


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in ALLOCATOR_TEXTS)


def is_full_disk(error: BaseException) -> bool:
    """torch's writer of archives raises a RuntimeError of its own, with or without the system's error behind it."""
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in causes):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in FULL_DISK_TEXTS)


def memory_advice(config: TrainingConfig) -> str:
    """What would need less, of that which is not in use already."""
    size, accumulation = config.per_device_train_batch_size, config.gradient_accumulation_steps
    advice = []
    if size > 1:
        advice.append(
            f"lower per_device_train_batch_size (now {size}), and raise gradient_accumulation_steps (now {accumulation}) "
            "by the same factor for the same result"
        )
    if not config.gradient_checkpointing:
        advice.append("set gradient_checkpointing")
    if config.num_workers > 1 and config.zero_stage < 3:
        advice.append(f"raise zero_stage (now {config.zero_stage})")
    if config.num_workers == 1:
        advice.append("train on more workers with zero_stage 2 or 3")
    if config.offload_optimizer == "none" and torch.cuda.is_available():
        advice.append("set offload_optimizer to cpu")
    if config.method == "full":
        advice.append("train an adapter (method LORA)")
    return f"What needs less: {'; '.join(advice)}."
