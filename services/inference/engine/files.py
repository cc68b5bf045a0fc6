"""A model's files from object storage into a local folder, each byte checked."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from servicekit.errors import DomainError, NotFound
from servicekit.storage import Storage
from services.inference.wire import ModelRef


async def fetch(
    storage: Storage, model: ModelRef, folder: Path, wanted: Callable[[str], bool] = lambda _: True
) -> Path:
    """The folder with the model's files, such as are `wanted` by their names; fetched once, visible whole or not at all."""
    target = folder / model.sha256
    if target.exists():
        return target
    prefix = storage.key(model.uri)
    try:
        manifest = json.loads(await storage.get(f"{prefix}/manifest.json"))
    except NotFound:
        raise NotFound(
            "MODEL_FILES_MISSING", f"the files of {model.name} are not in storage", resource=model.name
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
    try:
        await asyncio.gather(
            *(
                _file(storage, prefix, entry, work, model)
                for entry in manifest["files"]
                if wanted(entry["name"])
            )
        )
        try:
            work.rename(target)
        except OSError:  # another replica on this machine was first
            if not target.exists():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


async def _file(storage: Storage, prefix: str, entry: dict[str, str], work: Path, model: ModelRef) -> None:
    sha256 = await storage.get_file(f"{prefix}/{entry['name']}", work / entry["name"])
    if sha256 != entry["sha256"]:
        raise DomainError(
            "MODEL_CORRUPT", f"{entry['name']} of {model.name} is not what was stored", file=entry["name"]
        )
