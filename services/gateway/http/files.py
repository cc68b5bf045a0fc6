"""/v1/files: files of requests are datasets of prompts, files of answers are datasets of answers. Nothing is ever whole in
memory: lines are read, checked and passed on."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, web
from google.protobuf import empty_pb2

from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid, NotFound
from services.gateway.http.backends import Asked
from services.gateway.http.batch_rows import COMPLETIONS, Shared, answer_line, request_line, row_of
from services.gateway.http.calls import BROKE, PARAM_OF, Door, described
from services.gateway.http.names import model_name

DATASETS = "/ingrain.v1.Datasets"
ENDPOINT, MODEL, CONTEXT = "openai-endpoint", "openai-model", "openai-context"  # labels
ERRORS = "errors:"  # before the id of a dataset of answers: what could not be answered
GREATEST_LINE_BYTES = 3 << 20  # what a dataset takes
CHUNK_BYTES = 256 << 10
READ_BYTES = 64 << 10


class FilesHandler:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def create(self, request: web.Request) -> web.Response:
        async with self._door.admitted(request, f"{DATASETS}/UploadDataset") as asked:
            request[PARAM_OF] = file_param
            if request.content_type != "multipart/form-data":
                raise Invalid(
                    "NO_FORM", "send a form (multipart/form-data) with `purpose` and `file`", field="file"
                )
            upload = Upload(await request.multipart(), asked)
            dataset = await asked.upload(f"{DATASETS}/UploadDataset", upload.messages(), pb.Dataset)
            return web.json_response(file_of(dataset))

    async def get(self, request: web.Request) -> web.Response:
        async with self._door.admitted(request, f"{DATASETS}/GetDataset") as asked:
            request[PARAM_OF] = file_param
            file_id = request.match_info["file"]
            return web.json_response(file_of(await dataset_of(asked, file_id), file_id))

    async def delete(self, request: web.Request) -> web.Response:
        async with self._door.admitted(request, f"{DATASETS}/DeleteDataset") as asked:
            request[PARAM_OF] = file_param
            file_id = request.match_info["file"]
            wanted = pb.DeleteDatasetRequest(name=(await dataset_of(asked, file_id)).name)
            await asked.unary(f"{DATASETS}/DeleteDataset", wanted, empty_pb2.Empty)
            return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def content(self, request: web.Request) -> web.StreamResponse:
        """As JSONL, in the order of the requests."""
        async with self._door.admitted(request, f"{DATASETS}/ReadRows") as asked:
            request[PARAM_OF] = file_param
            dataset = await dataset_of(asked, request.match_info["file"])
            shown = shower_of(dataset, errors=request.match_info["file"].startswith(ERRORS))
            wanted = pb.ReadRowsRequest(name=dataset.name)
            response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
            try:
                async with aclosing(
                    asked.stream(f"{DATASETS}/ReadRows", wanted, pb.ReadRowsResponse)
                ) as pages:
                    async for page in pages:
                        if not response.prepared:
                            await response.prepare(request)
                        await response.write(text_of(page, shown).encode())
            except Exception as error:
                if not response.prepared:
                    raise
                request[BROKE] = described(request, error)
                if request.transport is not None:
                    request.transport.abort()  # a file that ends early must not look whole
                return response
            if not response.prepared:
                await response.prepare(request)
            await response.write_eof()
            return response


class Upload:
    """A form with a file of requests -> messages of UploadDataset."""

    def __init__(self, form: MultipartReader, asked: Asked) -> None:
        self._form = form
        self._asked = asked
        self._purpose = ""

    async def messages(self) -> AsyncGenerator[pb.UploadDatasetRequest]:
        file = await self._file()
        shared: Shared | None = None
        chunk, number = bytearray(), 0
        async for line in lines_of(file):
            number += 1
            if not line.strip():
                continue
            begun = shared
            shared, row = row_of(number, line, self._asked.parent, shared)
            if begun is None:
                yield pb.UploadDatasetRequest(header=await self._header(shared, file.filename or ""))
            encoded = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            if chunk and len(chunk) + len(encoded) > CHUNK_BYTES:
                yield pb.UploadDatasetRequest(chunk=bytes(chunk))
                chunk.clear()
            chunk += encoded
            while len(chunk) > CHUNK_BYTES:
                yield pb.UploadDatasetRequest(chunk=bytes(chunk[:CHUNK_BYTES]))
                del chunk[:CHUNK_BYTES]
        if shared is None:
            raise Invalid("EMPTY_FILE", "the file has no requests", field="file")
        await self._rest()
        yield pb.UploadDatasetRequest(chunk=bytes(chunk))

    async def _file(self) -> BodyPartReader:
        while (part := await self._form.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                return part
            await self._read_purpose(part)
        raise Invalid("NO_FILE", "the form has no `file`", field="file")

    async def _rest(self) -> None:
        """A form may say its purpose behind the file; an upload that is for something else is not kept."""
        while (part := await self._form.next()) is not None:
            await self._read_purpose(part)
        if not self._purpose:
            raise Invalid("NO_PURPOSE", "the form needs `purpose`: batch", field="purpose")

    async def _read_purpose(self, part: Any) -> None:
        if not isinstance(part, BodyPartReader) or part.name != "purpose":
            name = str(getattr(part, "name", ""))[:100]
            raise Invalid("UNSUPPORTED_PARAMETER", f"{name} is not supported here; leave it out", field=name)
        self._purpose = (await part.read_chunk(READ_BYTES)).decode(errors="replace").strip()
        if self._purpose != "batch":
            told = f"purpose is {self._purpose[:50]!r}; files here are for batches: `batch`"
            raise Invalid("UNSUPPORTED_PURPOSE", told, field="purpose")

    async def _header(self, shared: Shared, filename: str) -> pb.UploadDatasetHeader:
        if shared.endpoint == COMPLETIONS:
            await require_no_template(self._asked, shared.model)
        labels = {ENDPOINT: shared.endpoint, MODEL: shared.model, CONTEXT: shared.context}
        dataset = pb.Dataset(kind=pb.Dataset.PROMPTS, display_name=filename[:200], labels=labels)
        return pb.UploadDatasetHeader(parent=self._asked.parent, dataset=dataset)


async def lines_of(file: BodyPartReader) -> AsyncIterator[bytes]:
    rest = b""
    while chunk := await file.read_chunk(READ_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > GREATEST_LINE_BYTES:
            raise Invalid("LINE_TOO_LONG", f"a line has over {GREATEST_LINE_BYTES} bytes", field="file")
    yield rest


async def require_no_template(asked: Asked, model: str) -> None:
    """A batch's prompts go through a model's chat template; completions are of prompts as they are."""
    kind, _, rest = model.partition(":")
    if kind in ("icl", "rag"):
        model = rest.partition("@")[2]
    elif ":" in model or "@" in model or "/aliases/" in model:
        model = ""
    found = trainer_pb2.Model(chat_template=True)
    if model:
        name = trainer_pb2.GetModelRequest(name=model_name(asked.parent, model))
        found = await asked.unary("/ingrain.v1.Trainer/GetModel", name, trainer_pb2.Model)
    if found.chat_template:
        raise Invalid(
            "CHAT_TEMPLATE",
            f"{model or 'the model'} may read prompts through its chat template; ask a batch for /v1/chat/completions",
            field="lines[0].url",
        )


async def dataset_of(asked: Asked, file_id: str) -> pb.Dataset:
    """The dataset behind a file; NotFound for one that came another way."""
    dataset_id = file_id.removeprefix(ERRORS)
    name = f"{asked.parent}/datasets/{dataset_id}"
    dataset = await asked.unary(f"{DATASETS}/GetDataset", pb.GetDatasetRequest(name=name), pb.Dataset)
    if ENDPOINT not in dataset.labels:
        raise NotFound("NO_FILE", f"{name} is no file of /v1/files; read it over gRPC", resource=name)
    return dataset


def file_of(dataset: pb.Dataset, file_id: str = "") -> dict[str, Any]:
    answers = dataset.kind == pb.Dataset.ANSWERS
    return {
        "id": file_id or dataset.name.rpartition("/")[2],
        "object": "file",
        "bytes": dataset.size_bytes,
        "created_at": dataset.create_time.ToSeconds(),
        "filename": dataset.display_name or "requests.jsonl",
        "purpose": "batch_output" if answers else "batch",
        "status": "processed",
    }


def shared_of(dataset: pb.Dataset) -> Shared:
    labels = dataset.labels
    return Shared(labels[ENDPOINT], labels[MODEL], labels.get(CONTEXT, ""))


def shower_of(dataset: pb.Dataset, *, errors: bool) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    """Row -> line; None for one that stands in the other file."""
    shared, created = shared_of(dataset), dataset.create_time.ToSeconds()
    if dataset.kind == pb.Dataset.PROMPTS:
        return lambda row: request_line(row, shared)

    def answered(row: dict[str, Any]) -> dict[str, Any] | None:
        return answer_line(row, shared, dataset.name, created) if ("error" in row) == errors else None

    return answered


def text_of(page: pb.ReadRowsResponse, shown: Callable[[dict[str, Any]], dict[str, Any] | None]) -> str:
    lines = [line for row in page.rows if (line := shown(json.loads(row))) is not None]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def file_param(field: str) -> str:
    """Of datasets' fields; rows are lines of the file."""
    return field.replace("rows[", "lines[") if field.startswith("rows[") else "file"
