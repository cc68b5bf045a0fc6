"""What an operation says of a training at work, in words."""

from typing import Any

from servicekit.worker import Task


def told(lines: list[dict[str, Any]], last: dict[str, Any], measured: dict[str, float]) -> str:
    """The last step's loss, what was measured last, and what the worker warned of since then."""
    found = [f"{name} {value:.4f}" for name, value in measured.items() if name != "step"]
    warnings = [line["warning"] for line in lines if "warning" in line]
    return "; ".join([f"loss {last['loss']:.4f}", *found, *warnings[-1:]])


def paused_message(task: Task, stopped: dict[str, Any] | None = None) -> str:
    checkpoint = task.notes.get("checkpoint")
    where = f"with the checkpoint of step {checkpoint['step']}" if checkpoint else "before its first step"
    reason = stopped["reason"] if stopped else "paused"
    if stopped and reason == "resources":
        return f"{stopped['message']} Paused {where}; resume it with fewer workers, or when there are enough"
    why = "its time is up" if reason == "budget" else "paused"
    return f"{why}, {where}; it goes on when it is resumed"
