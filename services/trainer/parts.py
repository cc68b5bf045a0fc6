"""A model sent in parts: what is there, what is missing, and where each part lies.

The row in SQL says what an upload is; its parts are objects, each written whole or not at all, so that what lies in storage is what has
arrived. An upload follows from the project and the files: who begins it again goes on with it.
"""

import asyncio
import contextlib
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ingrain.v1 import trainer_pb2
from servicekit.database import Database, metadata
from servicekit.errors import DomainError, Invalid, NotFound, WrongState
from servicekit.storage import Storage
from services.trainer import inspection
from services.trainer.files import ModelFile, is_model_file
from services.trainer.imports import check_size
from services.trainer.settings import TrainerSettings

MIB = 1 << 20
LEAST_PART_BYTES = 16 * MIB
MOST_PARTS = 16_384  # of an upload: what is there is told in one message
SWEEP_S = 600.0

UPLOAD = sa.Table(
    "model_upload",
    metadata,
    sa.Column("project", sa.String(127), primary_key=True),
    sa.Column("upload", sa.String(64), primary_key=True),
    sa.Column("files", sa.Text, nullable=False),  # of ModelFile, as JSON
    sa.Column("part_bytes", sa.BigInteger, nullable=False),
    sa.Column("touched", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Upload:
    """Parts of a file are numbered from 0; all but the last have `part_bytes`."""

    project: str
    id: str
    files: list[ModelFile]
    part_bytes: int

    @property
    def prefix(self) -> str:
        return f"{self.project}/uploads/{self.id}"

    def key(self, file: ModelFile, part: int) -> str:
        return f"{self.prefix}/{self.files.index(file):04d}-{part:06d}"

    def part_count(self, file: ModelFile) -> int:
        return -(-file.size_bytes // self.part_bytes)

    def size_of(self, file: ModelFile, part: int) -> int:
        return min(self.part_bytes, file.size_bytes - part * self.part_bytes)


class Uploads:
    """The uploads of this service that are not finished."""

    def __init__(self, database: Database, storage: Storage, settings: TrainerSettings) -> None:
        self.database = database
        self.storage = storage
        self.settings = settings

    async def start(self, request: trainer_pb2.StartModelUploadRequest) -> trainer_pb2.ModelUpload:
        """What is there of it. Refused at once: what by its names and sizes alone can be no model."""
        files = sorted(
            (ModelFile(file.name, file.size_bytes, file.sha256) for file in request.files),
            key=lambda file: file.name,
        )
        self.refuse(files)
        total = sum(file.size_bytes for file in files)
        part_bytes = max(LEAST_PART_BYTES, -(-total // MOST_PARTS // MIB) * MIB)
        name = hashlib.sha256(json.dumps([request.parent, *map(asdict, files)]).encode()).hexdigest()[:40]
        upload = Upload(request.parent, f"u-{name}", files, part_bytes)

        def put(connection: sa.Connection) -> None:
            if not self.touch_in(connection, upload.project, upload.id):
                connection.execute(
                    UPLOAD.insert().values(
                        project=upload.project,
                        upload=upload.id,
                        files=json.dumps([asdict(file) for file in files]),
                        part_bytes=part_bytes,
                        touched=self.database.now(),
                    )
                )

        await self.database.run(put)
        there = await self.there(upload)
        parts = [
            trainer_pb2.UploadedPart(file_name=file.name, part_number=part)
            for file in files
            for part in range(upload.part_count(file))
            if (file.name, part) in there
        ]
        return trainer_pb2.ModelUpload(upload_id=upload.id, part_size_bytes=part_bytes, parts=parts)

    def refuse(self, files: list[ModelFile]) -> None:
        names = [file.name for file in files]
        if twice := {name for name in names if names.count(name) > 1}:
            raise Invalid("FILE_TWICE", f"{min(twice)} is named twice.", field="files", file=min(twice))
        for name in names:
            if name.lower().endswith(inspection.PICKLE_NAMES):
                raise inspection.not_safetensors(name)
            if not is_model_file(name):
                raise Invalid(
                    "NO_MODEL_FILE", f"{name} is no file of a model; leave it out.", field="files", file=name
                )
        for name, reason in (("config.json", "NO_CONFIG"), ("tokenizer.json", "NO_TOKENIZER")):
            if name not in names:
                raise Invalid(reason, f"There is no {name} among the files.", field="files")
        check_size(sum(file.size_bytes for file in files), self.settings)

    async def find(self, project: str, id: str) -> Upload:
        """NotFound where it was finished, expired or never begun. Its day begins anew."""

        def find(connection: sa.Connection) -> sa.Row[Any] | None:
            self.touch_in(connection, project, id)
            return connection.execute(UPLOAD.select().where(*is_one(project, id))).one_or_none()

        row = await self.database.run(find)
        if row is None:
            raise NotFound(
                "UPLOAD_NOT_FOUND",
                f"There is no upload {id} in {project}; it is finished, expired, or was never begun. Begin it (again).",
                upload_id=id,
            )
        files = [ModelFile(**file) for file in json.loads(row.files)]
        return Upload(project, id, files, row.part_bytes)

    def touch_in(self, connection: sa.Connection, project: str, id: str) -> bool:
        """Whether it is there."""
        touched = UPLOAD.update().where(*is_one(project, id)).values(touched=self.database.now())
        return connection.execute(touched).rowcount == 1

    async def there(self, upload: Upload) -> set[tuple[str, int]]:
        """File names and numbers of the parts that have arrived whole."""
        found = set()
        async for entry in self.storage.list(f"{upload.prefix}/"):
            number, _, part = entry.key.rpartition("/")[2].partition("-")
            file = upload.files[int(number)]
            if entry.size_bytes == upload.size_of(file, int(part)):
                found.add((file.name, int(part)))
        return found

    async def missing(self, upload: Upload) -> list[str]:
        there = await self.there(upload)
        return [
            f"{file.name} part {part}"
            for file in upload.files
            for part in range(upload.part_count(file))
            if (file.name, part) not in there
        ]

    async def refuse_unfinished(self, project: str, id: str) -> None:
        """WrongState while parts are missing. One that is gone may have been finished by this very request."""
        with contextlib.suppress(NotFound):
            require_all(await self.missing(await self.find(project, id)))

    async def take(
        self,
        header: trainer_pb2.UploadModelPartHeader,
        requests: AsyncIterator[trainer_pb2.UploadModelPartRequest],
    ) -> int:
        """Stores one part and returns its size; nothing is kept of one that breaks off or has other bytes than announced."""
        upload = await self.find(header.parent, header.upload_id)
        file = next((file for file in upload.files if file.name == header.file_name), None)
        if file is None or header.part_number >= upload.part_count(file):
            raise Invalid(
                "UNKNOWN_PART",
                f"The upload has no part {header.part_number} of {header.file_name!r}.",
                field="part_number",
            )
        size = upload.size_of(file, header.part_number)
        key = upload.key(file, header.part_number)
        stored = await self.storage.put(key, checked(requests, size, header.sha256))
        if file.name == "config.json" and size == file.size_bytes:
            try:
                refuse_config(await self.storage.get(key))
            except Invalid:
                await self.storage.delete(key)
                raise
        return stored.size_bytes

    async def bytes_of(self, upload: Upload, file: ModelFile) -> AsyncIterator[bytes]:
        for part in range(upload.part_count(file)):
            async for chunk in self.storage.stream(upload.key(file, part)):
                yield chunk

    async def forget_file(self, upload: Upload, file: ModelFile) -> None:
        for part in range(upload.part_count(file)):
            await self.storage.delete(upload.key(file, part))

    async def forget(self, project: str, id: str) -> None:
        """The row first: whoever begins again then begins anew, and does not count on parts that are just going."""
        await self.database.run(
            lambda connection: connection.execute(UPLOAD.delete().where(*is_one(project, id)))
        )
        async for entry in self.storage.list(f"{project}/uploads/{id}/"):
            await self.storage.delete(entry.key)

    async def sweep(self) -> None:
        """Forgets, for as long as the process runs, the uploads that nobody has touched for a day."""
        while True:
            with contextlib.suppress(DomainError):  # storage or database are away for a while
                await self.forget_expired()
            await asyncio.sleep(SWEEP_S)

    async def forget_expired(self) -> None:
        before = self.database.now() - self.settings.upload_expiry_s
        query = sa.select(UPLOAD.c.project, UPLOAD.c.upload).where(UPLOAD.c.touched < before)
        for row in await self.database.run(lambda connection: connection.execute(query).all()):
            await self.forget(row.project, row.upload)


def is_one(project: str, id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return UPLOAD.c.project == project, UPLOAD.c.upload == id


def refuse_config(config: bytes) -> None:
    """What is no causal language model is told before its weights travel."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "config.json").write_bytes(config)
        inspection.causal_architecture(inspection.read_config(Path(name)))


async def checked(
    requests: AsyncIterator[trainer_pb2.UploadModelPartRequest], size_bytes: int, sha256: str
) -> AsyncIterator[bytes]:
    """The chunks. Invalid before the last is out where they are not the bytes that were announced."""
    digest, total = hashlib.sha256(), 0
    async for request in requests:
        if request.WhichOneof("payload") != "chunk":
            raise Invalid("HEADER_TWICE", "The header comes exactly once, first.", field="header")
        total += len(request.chunk)
        if total > size_bytes:
            break
        digest.update(request.chunk)
        yield request.chunk
    if total != size_bytes:
        raise Invalid(
            "WRONG_PART_SIZE",
            f"The part has {'more' if total > size_bytes else 'fewer'} bytes than the {size_bytes} that belong to it.",
            field="chunk",
            size_bytes=size_bytes,
        )
    if digest.hexdigest() != sha256:
        raise Invalid(
            "WRONG_PART_BYTES",
            "The part's bytes have another sha256 than its header says; send it again.",
            field="header.sha256",
        )


def require_all(missing: list[str]) -> None:
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise WrongState(
            "UPLOAD_INCOMPLETE", f"Not all parts are there; missing: {shown}.", missing_count=len(missing)
        )
