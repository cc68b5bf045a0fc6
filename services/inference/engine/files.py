"""A model's files from object storage into a local folder, each byte checked."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from servicekit.errors import DomainError, NotFound, WrongState
from servicekit.model_files import Manifest, ModelFile, manifest_folder, read_manifest
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage
from services.inference.wire import ModelRef


async def fetch(
    storage: Storage,
    model: ModelRef,
    folder: Path,
    settings: ServiceSettings,
    wanted: Callable[[str], bool] = lambda _: True,
) -> Path:
    """The folder with the model's files, such as are `wanted` by their names; fetched once, visible whole or not at all. Files that
    stay in a bucket of somebody else are read there, by the keys in `settings`."""
    target = folder / model.sha256
    if target.exists():
        return target
    home = manifest_folder(storage, model.name, model.uri, model.sha256)
    try:
        manifest = await read_manifest(storage, home)
    except NotFound:
        raise NotFound(
            "MODEL_FILES_MISSING", f"the files of {model.name} are not in storage", resource=model.name
        ) from None
    source, place = manifest.place(storage, home, settings)
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
    try:
        await asyncio.gather(
            *(
                _file(source, place, manifest, file, work, model)
                for file in manifest.files
                if wanted(file.name)
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


async def _file(
    source: Storage, place: str, manifest: Manifest, file: ModelFile, work: Path, model: ModelRef
) -> None:
    sha256 = await source.get_file(f"{place}/{file.name}", work / file.name)
    if sha256 == file.sha256:
        return
    if manifest.uri:
        raise WrongState(
            "MODEL_CHANGED_IN_PLACE",
            f"{manifest.uri}/{file.name} is not what was imported as {model.name}: its digest is another one; put the old file back, "
            "or import the model again",
            model=model.name,
            file=file.name,
        )
    raise DomainError("MODEL_CORRUPT", f"{file.name} of {model.name} is not what was stored", file=file.name)
