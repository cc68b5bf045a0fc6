"""A model whose files stay in the bucket where they lie: read once for their digests, never copied, never deleted.

The manifest in the platform's own storage says what they were at that time; whoever reads them later compares.
"""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid, NotFound
from servicekit.storage import ObjectInfo, Storage, open_uri
from services.trainer.files import ModelFile, is_model_file
from services.trainer.imports import check_size
from services.trainer.settings import TrainerSettings
from services.trainer.sketches import Sketch

Told = Callable[[int, int], Awaitable[None]]  # bytes read, of so many


def refuse_unfit(request: trainer_pb2.ImportModelRequest) -> None:
    """Only what lies in object storage can stay there."""
    if request.in_place and not request.source_uri.startswith("s3://"):
        raise Invalid(
            "IN_PLACE_NEEDS_S3",
            "Only the files of an s3:// source can stay in place; leave in_place out.",
            field="in_place",
        )


async def found_at(
    source_uri: str, settings: TrainerSettings
) -> tuple[Storage, str, list[tuple[str, ObjectInfo]]]:
    """Storage, folder, and the model's files right in it by their names; other objects are left alone."""
    storage, prefix = open_uri(source_uri, settings)
    prefix = prefix.rstrip("/")
    found = []
    async for entry in storage.list(f"{prefix}/"):
        name = entry.key.removeprefix(f"{prefix}/")
        if "/" not in name and is_model_file(name):
            found.append((name, entry))
    if not found:
        raise NotFound(
            "SOURCE_NOT_FOUND", f"There are no files of a model at {source_uri}.", source_uri=source_uri
        )
    check_size(sum(entry.size_bytes for _, entry in found), settings)
    return storage, prefix, found


async def sketch(source_uri: str, settings: TrainerSettings, folder: Path) -> None:
    """What inspection needs, by reading the beginnings only."""
    storage, _, found = await found_at(source_uri, settings)
    for name, entry in found:
        with Sketch(folder / name, entry.size_bytes) as drawn:
            async for chunk in storage.stream(entry.key):
                drawn.add(chunk)
                if drawn.complete:
                    break


async def read(source_uri: str, settings: TrainerSettings, folder: Path, told: Told) -> list[ModelFile]:
    """Size, sha256 and etag of each file, and in `folder` what inspection needs. Invalid where one changes meanwhile."""
    storage, _, found = await found_at(source_uri, settings)
    total, done, files = sum(entry.size_bytes for _, entry in found), 0, []
    for name, entry in found:
        digest = hashlib.sha256()
        with Sketch(folder / name, entry.size_bytes) as drawn:
            async for chunk in storage.stream(entry.key):
                digest.update(chunk)
                drawn.add(chunk)
                done += len(chunk)
                await told(done, total)
        if await storage.stat(entry.key) != entry:
            raise Invalid(
                "SOURCE_CHANGED",
                f"{source_uri}/{name} changed while it was read; import it when it is complete.",
                field="source_uri",
                file=name,
            )
        files.append(ModelFile(name, entry.size_bytes, digest.hexdigest(), entry.etag))
    return files
