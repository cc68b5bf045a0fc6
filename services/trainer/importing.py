"""ImportModel, UploadModel and FinishModelUpload as operations."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import DomainError, Invalid
from servicekit.model_files import ModelFile, digest, manifest_folder, put_manifest
from servicekit.worker import Task
from services.trainer import imports, in_place
from services.trainer.endpoints import fill, wanted_endpoint
from services.trainer.exchange import model_key
from services.trainer.inspection import Inspection, inspect_folder
from services.trainer.models import Model, Models
from services.trainer.parts import Upload, Uploads, require_all
from services.trainer.settings import TrainerSettings
from services.trainer.sketches import Sketch


class Importing:
    """Base models on their way in."""

    def __init__(self, settings: TrainerSettings, models: Models, uploads: Uploads) -> None:
        self.settings = settings
        self.models = models
        self.uploads = uploads

    async def estimate(self, request: trainer_pb2.ImportModelRequest) -> common_pb2.Estimate:
        """Fetches and inspects the source, keeps nothing."""
        if endpoint := wanted_endpoint(request):
            note = f"{endpoint.base_url} answers for the model; nothing is fetched, and it is asked when you ask."
            return common_pb2.Estimate(notes=[note])
        found, source = await self.looked_at(request)
        return common_pb2.Estimate(
            worker_memory_bytes=4 * found.parameter_count,
            notes=[
                f"{source} is a {found.architecture} of {found.parameter_count} parameters with a window of "
                f"{found.context_window} tokens, {'with' if found.chat_template else 'without'} a chat template.",
                "Memory: its weights in float32.",
            ],
        )

    async def looked_at(self, request: trainer_pb2.ImportModelRequest) -> tuple[Inspection, str]:
        if request.in_place:
            with self.folder("import-") as folder:
                await in_place.sketch(request.source_uri, self.settings, folder)
                return inspect_folder(folder), request.source_uri
        async with imports.opened(request.source_uri, self.settings) as (folder, source):
            return inspect_folder(folder), source

    async def import_model(self, task: Task, request: trainer_pb2.ImportModelRequest) -> Model:
        """Handler: fetch, inspect, publish."""
        if endpoint := wanted_endpoint(request):
            model = await self.models.rows.get(task.target)
            fill(model, endpoint)
            return model
        await task.progress("fetching", message=request.source_uri)
        model = await self.models.rows.get(task.target)
        if request.in_place:
            return await self.import_in_place(task, request, model)
        async with imports.opened(request.source_uri, self.settings) as (folder, source):
            await task.progress("storing", message=source)
            model.source = source
            return await self.models.take_in(model, folder, model_key(task.prefix))

    async def upload_model(self, task: Task, request: trainer_pb2.UploadModelHeader) -> Model:
        """Handler: the call itself has inspected and published the files, the row says where."""
        return await self.models.rows.get(task.target)

    async def import_in_place(
        self, task: Task, request: trainer_pb2.ImportModelRequest, model: Model
    ) -> Model:
        """Reads the files once, and keeps nothing of them but the manifest."""

        async def told(done: int, total: int) -> None:
            await task.progress("reading", done, total, "bytes", request.source_uri)

        source = request.source_uri.rstrip("/")
        with self.folder("import-") as folder:
            files = await in_place.read(source, self.settings, folder, told)
            found = inspect_folder(folder)
        home = manifest_folder(self.models.storage, model.name, source, digest(files))
        await put_manifest(
            self.models.storage, home, files, {"model": model.name, "source": source}, uri=source
        )
        model.source = source
        return self.models.filled(model, found, files, source)

    async def finish_upload(self, task: Task, request: trainer_pb2.FinishModelUploadRequest) -> Model:
        """Handler: puts the parts together, each byte checked; inspected as any model. What was made is noted before the parts go, so that
        an attempt after a crash finds either."""
        model = await self.models.rows.get(task.target)
        if "files" not in task.notes:
            found, files = await self.assembled(
                task, await self.uploads.find(request.parent, request.upload_id)
            )
            await task.note(
                files=[asdict(file) for file in files], found=asdict(found), key=model_key(task.prefix)
            )
        await self.uploads.forget(request.parent, request.upload_id)
        files = [ModelFile(**file) for file in task.notes["files"]]
        uri = self.models.storage.uri(task.notes["key"])
        return self.models.filled(model, Inspection(**task.notes["found"]), files, uri)

    async def assembled(self, task: Task, upload: Upload) -> tuple[Inspection, list[ModelFile]]:
        require_all(await self.uploads.missing(upload))
        storage, key = self.models.storage, model_key(task.prefix)
        total, done = sum(file.size_bytes for file in upload.files), 0

        async def passing(file: ModelFile, drawn: Sketch) -> AsyncIterator[bytes]:
            nonlocal done
            async for chunk in self.uploads.bytes_of(upload, file):
                drawn.add(chunk)
                done += len(chunk)
                await task.progress("assembling", done, total, "bytes", file.name)
                yield chunk

        put: list[ModelFile] = []
        try:
            with self.folder("upload-") as folder:
                for file in upload.files:
                    with Sketch(folder / file.name, file.size_bytes) as drawn:
                        stored = await storage.put(f"{key}/{file.name}", passing(file, drawn))
                    put.append(file)
                    if stored.sha256 != file.sha256:
                        await self.uploads.forget_file(upload, file)
                        raise Invalid(
                            "WRONG_FILE_BYTES",
                            f"{file.name} has another sha256 than was announced; upload the folder again.",
                            field="files",
                            file=file.name,
                        )
                found = inspect_folder(folder)
            await put_manifest(storage, key, put, {"model": task.target, "source": "upload"})
        except DomainError:
            for file in put:
                await storage.delete(f"{key}/{file.name}")
            raise
        return found, put

    @contextmanager
    def folder(self, prefix: str) -> Iterator[Path]:
        self.settings.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.settings.scratch) as name:
            yield Path(name)
