"""Which checkpoints count: the newest and the best one, noted in SQL under the fence."""

import json
from typing import Any

from servicekit.storage import Storage
from servicekit.worker import Task
from services.trainer.sweeping import forget


async def note_checkpoints(task: Task, storage: Storage, lines: list[dict[str, Any]]) -> None:
    """Commits the newest checkpoint and the best one to SQL, then forgets those that they replace."""
    found = [line["checkpoint"] for line in lines if "checkpoint" in line]
    before = {name: task.notes.get(name) for name in ("checkpoint", "best")}
    after = {
        "checkpoint": newest(before["checkpoint"], found),
        "best": newest(before["best"], [checkpoint for checkpoint in found if checkpoint.get("best")]),
    }
    if after == before:
        return
    # An attempt that got on has made good for those before it.
    task.attempt = 1
    task.notes.update(after)
    await task.write(notes=json.dumps(task.notes), attempts=task.attempt)
    kept = [checkpoint["key"] for checkpoint in after.values() if checkpoint]
    gone = [*(checkpoint for checkpoint in before.values() if checkpoint), *found]
    for checkpoint in {checkpoint["key"]: checkpoint for checkpoint in gone}.values():
        # One that an earlier training left stays that training's.
        if checkpoint["key"] not in kept and checkpoint["key"].startswith(f"{task.target}/"):
            await forget(storage, checkpoint)


def newest(known: dict[str, Any] | None, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    return max([*([known] if known else []), *found], key=lambda checkpoint: checkpoint["step"], default=None)
