"""A base model sent by the caller: spooled to scratch, refused as early as can be, published, then a resource."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from google.longrunning import operations_pb2

from ingrain.v1 import trainer_pb2
from servicekit.errors import DomainError, Invalid
from servicekit.operations import Operations
from servicekit.resources import new_id
from services.trainer import files, inspection
from services.trainer.imports import check_size
from services.trainer.models import Model, Models
from services.trainer.settings import TrainerSettings

Request = trainer_pb2.UploadModelRequest


async def upload(
    header: trainer_pb2.UploadModelHeader,
    requests: AsyncIterator[Request],
    models: Models,
    operations: Operations,
    settings: TrainerSettings,
) -> operations_pb2.Operation:
    """Takes the files that follow the header. Nothing is kept of an upload that breaks off or is refused."""
    name = f"{header.parent}/models/{header.model_id or new_id('model')}"
    model = Model(name=name, display_name=header.display_name, source="upload")
    settings.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=settings.scratch) as folder:
        await spool(requests, Path(folder), settings)
        prefix = f"{name}/{new_id('upload')}/model"
        model = await models.take_in(model, Path(folder), prefix)
    try:
        operation = await operations.start("UploadModel", header, model, request_id=header.request_id)
    except DomainError:
        await files.remove(models.storage, prefix)
        raise
    kept = await models.rows.get(operation.name.split("/operations/")[0])
    if kept.uri != model.uri:  # the same request sent again: the first one's files stay
        await files.remove(models.storage, prefix)
    return operation


async def spool(requests: AsyncIterator[Request], folder: Path, settings: TrainerSettings) -> None:
    """Each file is checked when the next one begins: a bad configuration ends the call before the weights travel."""
    file: IO[bytes] | None = None
    total = 0
    try:
        async for request in requests:
            match request.WhichOneof("payload"):
                case "file_name":
                    if file:
                        finish(file, folder)
                    path = folder / request.file_name
                    if path.exists():
                        raise Invalid(
                            "FILE_TWICE", f"{path.name} was sent twice.", field="file_name", file=path.name
                        )
                    if path.name.lower().endswith(inspection.PICKLE_NAMES):
                        raise inspection.not_safetensors(path.name)
                    file = path.open("wb")
                case "chunk" if file:
                    total += len(request.chunk)
                    check_size(total, settings)
                    file.write(request.chunk)
                case "chunk":
                    raise Invalid("CHUNK_WITHOUT_FILE", "A chunk came before any file_name.", field="chunk")
                case _:
                    raise Invalid("HEADER_TWICE", "The header comes exactly once, first.", field="header")
        if file is None:
            raise Invalid("NO_FILES", "The upload has no files.", field="file_name")
        finish(file, folder)
    finally:
        if file:
            file.close()


def finish(file: IO[bytes], folder: Path) -> None:
    file.close()
    path = Path(file.name)
    inspection.refuse_pickle(path)
    if path.name == "config.json":
        inspection.causal_architecture(inspection.read_config(folder))
