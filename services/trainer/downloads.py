"""A model's files on their way out: one after the other, from any byte on, in pieces that fit a message."""

from collections.abc import AsyncIterator

from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid, WrongState
from servicekit.model_files import ModelFile, read_manifest
from servicekit.storage import CHUNK_BYTES
from services.trainer import files
from services.trainer.models import Models
from services.trainer.settings import TrainerSettings

Response = trainer_pb2.DownloadModelResponse


async def download(
    request: trainer_pb2.DownloadModelRequest, models: Models, settings: TrainerSettings
) -> AsyncIterator[Response]:
    """The files in the order of their names, each begun by its name, size and digest. WrongState for a model that is not ACTIVE or
    that another server answers for."""
    model = await models.usable(request.name)
    if model.HasField("endpoint"):
        raise WrongState(
            "MODEL_HAS_NO_FILES",
            f"{model.endpoint.base_url} answers for {model.name}; its files are not here.",
            model=model.name,
        )
    home = files.home(models.storage, model)
    manifest = await read_manifest(models.storage, home)
    storage, place = manifest.place(models.storage, home, settings)
    listed = sorted(manifest.files, key=lambda file: file.name)
    first, start = beginning(request, listed)
    for file in listed[first:]:
        yield Response(
            file=trainer_pb2.UploadFile(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256)
        )
        key = f"{place}/{file.name}"
        found = await storage.stat(key)
        if found is None or found.size_bytes != file.size_bytes:
            raise files.changed(manifest, file)
        if start < file.size_bytes:
            async for chunk in storage.stream(key, start, CHUNK_BYTES):
                yield Response(chunk=chunk)
        start = 0


def beginning(request: trainer_pb2.DownloadModelRequest, listed: list[ModelFile]) -> tuple[int, int]:
    """Which file comes first, and from which byte."""
    names = [file.name for file in listed]
    name = request.start_file or names[0]
    if name not in names:
        raise Invalid(
            "UNKNOWN_FILE",
            f"{request.name} has no file {name!r}; it has {', '.join(names)}.",
            field="start_file",
        )
    first = names.index(name)
    if request.start_byte > listed[first].size_bytes:
        raise Invalid(
            "AFTER_THE_END",
            f"{name} has {listed[first].size_bytes} bytes; start_byte {request.start_byte} lies behind them.",
            field="start_byte",
            size_bytes=listed[first].size_bytes,
        )
    return first, request.start_byte
