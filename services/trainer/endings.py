"""How an attempt ended that has no result, as the operation's error: what ends it, what is tried again, what it costs."""

from typing import Any

from servicekit.errors import DomainError, Exhausted, Invalid, Unavailable
from servicekit.worker import Deferred, Task
from services.trainer.exchange import OUT_OF_MEMORY

AGAIN_SECONDS = 1.0
CRASHED = {
    "reason": "TRAINING_INTERRUPTED",
    "message": "The training's processes ended before it was done.",
    "permanent": False,
}


async def ended_by(task: Task, error: dict[str, Any] | None) -> DomainError | Deferred:
    """`error`: the job's `error.json`, None after a crash. What an attempt that committed a checkpoint died of counts as no failure, so
    that a long training may be interrupted any number of times."""
    error = error or CRASHED
    reason, message = error["reason"], f"{error['message']} {kept(task)}".strip()
    if error["permanent"]:
        if reason == "NO_RAY_RESOURCES":
            return Exhausted(reason, message)
        return Invalid(reason, message, field="training")
    if reason == OUT_OF_MEMORY:
        # The same settings need the same memory: once more, because a neighbour may have had it, then never again.
        if task.notes.get("out_of_memory_step", -1) == step_of(task):
            return Exhausted(reason, message)
        await task.note(out_of_memory_step=step_of(task))
        return Unavailable(reason, message)
    if step_of(task) >= task.notes.get("first_step", 1):
        await task.progress("starting", message=message)
        return Deferred(AGAIN_SECONDS)
    return Unavailable(reason, message)


def step_of(task: Task) -> int:
    """Of the checkpoint that is committed, 0 where there is none."""
    checkpoint = task.notes.get("checkpoint")
    return int(checkpoint["step"]) if checkpoint else 0


def kept(task: Task) -> str:
    """What is not lost."""
    if not step_of(task):
        return ""
    return (
        f"The checkpoint of step {step_of(task)} is kept; the next attempt goes on from it, and so does a new training with "
        f"resume_from {task.target}."
    )
