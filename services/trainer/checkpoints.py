"""The engine's state to a local folder, from there to object storage, and back.

DeepSpeed's files are pickles. They are loaded only where this run wrote them itself, or where the trainer committed them to SQL for
this very operation, name by name and digest by digest; nothing that a caller can write is ever read here.
"""

import argparse
import asyncio
import contextlib
import io
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from servicekit.storage import Storage
from services.trainer import files
from services.trainer.files import ModelFile

TAG = "state"
UNIVERSAL = "universal"


@dataclass(frozen=True)
class Checkpoint:
    """State after optimizer step `step`: where it lies and what it is made of. Plain values that travel as JSON."""

    step: int
    key: str
    tokens: int  # trained so far, padding not counted
    compute_seconds: float  # so far, all workers together
    files: list[dict[str, Any]]  # of ModelFile, names relative to `key`
    loss: float = 0.0  # of the step
    world: int = 1  # workers that wrote it
    best: bool = False  # the best step measured so far
    evaluation: dict[str, Any] | None = None  # the evaluator's state


def write(engine: Any, folder: Path, *, adapter: bool) -> None:
    """This worker's part of the state into `folder`. A collective."""
    engine.save_checkpoint(str(folder), tag=TAG, exclude_frozen_parameters=adapter)


async def upload(storage: Storage, key: str, folder: Path) -> list[dict[str, Any]]:
    """The same again does no harm."""
    found = []
    for path in sorted(folder.rglob("*.pt")):
        name = path.relative_to(folder).as_posix()
        stored = await storage.put_file(f"{key}/{name}", path)
        found.append(asdict(ModelFile(name, stored.size_bytes, stored.sha256)))
    return found


def load(engine: Any, storage: Storage, checkpoint: Checkpoint, folder: Path) -> None:
    """Puts the state back, whatever the number of workers was, by way of `folder`. A collective; raises where a file is not the one
    that was saved."""
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.world != dist.get_world_size() and engine.zero_optimization_stage() > 0:
        load_universal(engine, storage, checkpoint, folder / f"step-{checkpoint.step}")
        return
    with tempfile.TemporaryDirectory(dir=folder) as name:
        asyncio.run(download(storage, checkpoint, Path(name)))
        engine.load_checkpoint(name, tag=TAG, load_module_strict=False)


def load_universal(engine: Any, storage: Storage, checkpoint: Checkpoint, folder: Path) -> None:
    """ZeRO's parts are of so many workers. DeepSpeed makes of them one file for each parameter, of which every worker takes its share.
    One worker of each machine fetches and converts, the others wait for it."""
    with files.exclusive(folder.with_suffix(".lock")):
        if not (folder / "latest_universal").is_file():
            asyncio.run(download(storage, checkpoint, folder))
            convert(folder / TAG, folder / UNIVERSAL)
    engine._config.load_universal_checkpoint = True
    try:
        engine.load_checkpoint(str(folder), tag=UNIVERSAL, load_module_strict=False)
    finally:
        engine._config.load_universal_checkpoint = False
    dist.barrier()
    shutil.rmtree(folder, ignore_errors=True)


def convert(source: Path, target: Path) -> None:
    """File by file, so that it needs little more memory than the largest of them; a mark beside `target` says that it is whole."""
    from deepspeed.checkpoint import ds_to_universal

    options = argparse.Namespace(
        input_folder=str(source),
        output_folder=str(target),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        ds_to_universal.main(options)


async def download(storage: Storage, checkpoint: Checkpoint, folder: Path) -> None:
    for file in checkpoint.files:
        target = folder / file["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if await storage.get_file(f"{checkpoint.key}/{file['name']}", target) != file["sha256"]:
            raise RuntimeError(
                f"{file['name']} of the checkpoint of step {checkpoint.step} is not what was saved"
            )
