"""DeepSpeed's state to object storage and back.

DeepSpeed's files are pickles. They are loaded only where the trainer committed them to SQL for this very operation, name by name and
digest by digest; nothing that a caller can write is ever read here.
"""

import asyncio
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from servicekit.storage import Storage
from services.trainer.files import ModelFile

TAG = "state"


@dataclass(frozen=True)
class Checkpoint:
    """State after optimizer step `step`: where it lies and what it is made of."""

    step: int
    key: str
    tokens: int  # trained so far, padding not counted
    compute_seconds: float  # so far, all workers together
    files: list[dict[str, Any]]  # of ModelFile, names relative to `key`


def save(
    engine: Any, storage: Storage, key: str, *, step: int, tokens: int, compute_seconds: float, adapter: bool
) -> Checkpoint | None:
    """Every worker saves its shard and uploads it; the first one returns what all of them wrote."""
    with tempfile.TemporaryDirectory(prefix="ingrain-") as name:
        folder = Path(name)
        engine.save_checkpoint(str(folder), tag=TAG, exclude_frozen_parameters=adapter)
        mine = asyncio.run(upload(storage, key, folder))
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    if dist.get_rank() != 0:
        return None
    files = [file for worker in everyone for file in worker]
    return Checkpoint(step, key, tokens, compute_seconds, files)


async def upload(storage: Storage, key: str, folder: Path) -> list[dict[str, Any]]:
    files = []
    for path in sorted(folder.rglob("*.pt")):
        name = path.relative_to(folder).as_posix()
        stored = await storage.put_file(f"{key}/{name}", path)
        files.append(asdict(ModelFile(name, stored.size_bytes, stored.sha256)))
    return files


def load(engine: Any, storage: Storage, checkpoint: Checkpoint) -> None:
    """Puts the state back; raises where a file is not the one that was committed."""
    with tempfile.TemporaryDirectory(prefix="ingrain-") as name:
        asyncio.run(download(storage, checkpoint, Path(name)))
        engine.load_checkpoint(name, tag=TAG, load_module_strict=False)


async def download(storage: Storage, checkpoint: Checkpoint, folder: Path) -> None:
    for file in checkpoint.files:
        target = folder / file["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if await storage.get_file(f"{checkpoint.key}/{file['name']}", target) != file["sha256"]:
            raise RuntimeError(
                f"{file['name']} of the checkpoint of step {checkpoint.step} is not what was saved"
            )
