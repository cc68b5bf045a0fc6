"""What a worker's error means to who asked for the training: its reason and what to do (`error.json`)."""

import errno
from typing import Any

import torch

from servicekit.errors import WrongState
from services.trainer.config import TrainingConfig
from services.trainer.deaths import out_of_memory
from services.trainer.engine import CannotTrain

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
    if isinstance(error, WrongState):  # files of the base that are not what they were
        return {"reason": error.reason, "message": error.message, "permanent": True}
    if isinstance(error, Interrupted):
        return {"reason": error.reason, "message": error.message, "permanent": False}
    if is_out_of_memory(error):
        return out_of_memory(config, torch.cuda.is_available())
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
