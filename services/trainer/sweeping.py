"""What a training leaves in object storage when it has ended, and who takes it away.

Progress, logs, `job.json`, `result.json` and the model's files stay. Packed rows, checkpoints and models of attempts that did not count
serve only a training that may go on.
"""

import contextlib
from collections.abc import Collection

from servicekit.storage import Storage
from services.trainer.outages import OUTAGES

ONLY_AT_WORK = ("packed.safetensors", "teacher.safetensors", "checkpoints/")


async def sweep(storage: Storage, model: str, kept: Collection[str] = ()) -> None:
    """Deletes what serves no more, but for keys that begin with one of `kept`. A storage that is away keeps it."""
    with contextlib.suppress(*OUTAGES):
        for key in [found.key async for found in storage.list(f"{model}/")]:
            name = key.removeprefix(f"{model}/").partition("/")[2]
            if name.startswith((*ONLY_AT_WORK, "model/")) and not key.startswith(tuple(kept)):
                await storage.delete(key)


async def forget(storage: Storage, checkpoint: dict[str, str]) -> None:
    """A checkpoint's files and what its workers noted of them. A storage that is away keeps them until the sweep."""
    with contextlib.suppress(*OUTAGES):
        for key in [found.key async for found in storage.list(f"{checkpoint['key']}/")]:
            await storage.delete(key)
