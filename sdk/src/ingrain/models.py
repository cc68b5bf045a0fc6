"""`client.models`: base models in, trained models out."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from google.longrunning import operations_pb2

from ingrain import errors
from ingrain.model_files import PARALLEL, Download, PartUpload, folder_sha256
from ingrain.names import full_name, target_of
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, message_from, pages, resumed
from ingrain.rows import CHUNK_BYTES
from ingrain.v1 import trainer_pb2 as pb

# What a transformers checkpoint consists of; weights in other formats than safetensors are left behind.
_CHECKPOINT_FILES = (
    "*.safetensors", "*.json", "*.jinja", "tokenizer.model", "vocab.txt", "merges.txt", "README.md", "LICENSE*",
)  # fmt: skip

_STREAMED_BYTES = 64 << 20  # larger folders go up in parts, side by side
_ESTIMATE_TIMEOUT_S = 300.0

__all__ = ["AsyncModels", "checkpoint_files", "folder_sha256", "source_uri"]


class AsyncModels(Resource):
    collection = "models"

    async def import_(
        self,
        source: str | Path,
        id: str | None = None,
        display_name: str = "",
        validate_only: bool = False,
        in_place: bool = False,
        request_id: str = "",
    ) -> AsyncOperation:
        """`source`: a local folder (uploaded), a hub id `org/name[@revision]`, or a URI: `hf://`, `s3://`,
        `file://` (on the platform's machine), `bundled://small`. `in_place`: the files of an `s3://` source stay there and
        are read from there; they must not change."""
        uri = source_uri(source)
        if uri is None:
            if in_place:
                raise errors.Invalid("only the files of an s3:// source can stay in place")
            return await self.upload(source, id, display_name, request_id or None)
        request = pb.ImportModelRequest(
            parent=self._client.parent,
            model_id=id or "",
            source_uri=uri,
            display_name=display_name,
            validate_only=validate_only,
            in_place=in_place,
            request_id=request_id,
        )
        return AsyncOperation(self._client, await self._client.stubs.trainer.ImportModel(request))

    async def import_endpoint(
        self,
        base_url: str,
        model_id: str,
        api_key_ref: str = "",
        id: str | None = None,
        context_window: int = 0,
        display_name: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> AsyncOperation:
        """A model that an OpenAI-style server answers for, under its name there. `api_key_ref`: `env:NAME`, a variable
        of the platform's inference that its operator opened for this host; keys themselves are never sent."""
        endpoint = pb.Endpoint(
            base_url=base_url, model_id=model_id, api_key_ref=api_key_ref, context_window=context_window
        )
        request = pb.ImportModelRequest(
            parent=self._client.parent,
            model_id=id or "",
            endpoint=endpoint,
            display_name=display_name,
            validate_only=validate_only,
            request_id=request_id,
        )
        return AsyncOperation(self._client, await self._client.stubs.trainer.ImportModel(request))

    async def upload(
        self,
        folder: str | Path,
        id: str | None = None,
        display_name: str = "",
        request_id: str | None = None,
        parallel: int | None = None,
    ) -> AsyncOperation:
        """Sends a checkpoint's files: safetensors, configuration, tokenizer. Above 64 MiB, or where `parallel` is given, in parts, so
        many at a time (4): call it again after a failure, and only what is missing is sent. Raises Internal if they arrive damaged."""
        paths = checkpoint_files(Path(folder).expanduser())
        if parallel or sum(path.stat().st_size for path in paths) > _STREAMED_BYTES:
            return await self._upload_parts(paths, id, display_name, request_id, parallel or PARALLEL)
        header = pb.UploadModelHeader(
            parent=self._client.parent,
            model_id=id or "",
            display_name=display_name,
            request_id=request_id or str(uuid.uuid4()),
        )
        digests: dict[str, str] = {}
        operation = await self._client.stubs.trainer.UploadModel(_upload_messages(header, paths, digests))
        stored = await self.get(target_of(operation.name))
        if stored.sha256 and stored.sha256 != folder_sha256(digests):
            raise errors.Internal(f"{stored.name} arrived damaged; delete it and send it again")
        return AsyncOperation(self._client, operation)

    async def _upload_parts(
        self, paths: list[Path], id: str | None, display_name: str, request_id: str | None, parallel: int
    ) -> AsyncOperation:
        """The digest of each part and of each file is compared by the platform."""
        request = pb.FinishModelUploadRequest(
            parent=self._client.parent,
            upload_id=await PartUpload(self._client, paths).run(parallel),
            model_id=id or "",
            display_name=display_name,
            request_id=request_id or str(uuid.uuid4()),
        )
        return AsyncOperation(self._client, await self._client.stubs.trainer.FinishModelUpload(request))

    async def download(self, name: str, folder: str | Path, parallel: int = PARALLEL) -> Path:
        """The model's files in `folder`, so many at a time; an adapter's are those of the adapter alone. Call it again after a failure:
        what has arrived is kept, and each file is there whole and with its sha256 right, or not at all."""
        return await Download(self._client, self._name(name), Path(folder).expanduser()).run(parallel)

    async def create(
        self,
        base_model: str,
        datasets: str | Iterable[str] | Mapping[str, float],
        id: str | None = None,
        display_name: str = "",
        validate_only: bool = False,
        resume_from: str = "",
        request_id: str = "",
        **training: Any,
    ) -> AsyncOperation:
        """Fine-tunes. `datasets`: a name, names, or weights by name; keywords are those of TrainingSpec. `resume_from`: a model whose
        training failed or was cancelled; what is left out is as it was there. Safe to repeat with the same `request_id`."""
        request = pb.CreateModelRequest(
            parent=self._client.parent,
            model_id=id or "",
            training=self.training(base_model, datasets, **training),
            display_name=display_name,
            validate_only=validate_only,
            resume_from=self._name(resume_from) if resume_from else "",
            request_id=request_id,
        )
        # An estimate may take some steps first.
        timeout_s = _ESTIMATE_TIMEOUT_S if validate_only else None
        operation: operations_pb2.Operation = await self._client.stubs.trainer.CreateModel(
            request, timeout=timeout_s
        )
        return AsyncOperation(self._client, operation)

    def training(
        self, base_model: str, datasets: str | Iterable[str] | Mapping[str, float], **training: Any
    ) -> pb.TrainingSpec:
        names = [datasets] if isinstance(datasets, str) else datasets
        weights = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 0.0)
        parts = [
            pb.WeightedDataset(dataset=full_name(self._client.parent, "datasets", name), weight=weight)
            for name, weight in weights.items()
        ]
        spec = message_from(pb.TrainingSpec, base_model=self._name(base_model), datasets=parts, **training)
        self._complete_names(spec)
        return spec

    def _complete_names(self, spec: pb.TrainingSpec) -> None:
        """Datasets inside of messages may be named by their ids too."""

        def whole(name: str) -> str:
            return full_name(self._client.parent, "datasets", name) if name else ""

        if spec.HasField("evaluation"):
            spec.evaluation.datasets[:] = map(whole, spec.evaluation.datasets)
            spec.evaluation.probes = whole(spec.evaluation.probes)
        if spec.HasField("distillation"):
            spec.distillation.dataset = whole(spec.distillation.dataset)
        if spec.HasField("replay"):
            spec.replay.dataset = whole(spec.replay.dataset)

    async def get(self, name: str) -> pb.Model:
        return await self._client.stubs.trainer.GetModel(pb.GetModelRequest(name=self._name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Model]:
        """Newest first."""
        request = pb.ListModelsRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.trainer.ListModels, request, "models")

    async def pause(self, name: str) -> pb.Model:
        """The training stops after its next step, with a checkpoint; its operation waits."""
        return await self._client.stubs.trainer.PauseTraining(pb.PauseTrainingRequest(name=self._name(name)))

    async def resume(self, name: str, max_duration_s: float = 0.0, num_workers: int = 0) -> pb.Model:
        """A paused training goes on, for so many seconds of work (0: without a limit), with so many workers (0: as before)."""
        request = pb.ResumeTrainingRequest(name=self._name(name), num_workers=num_workers)
        if max_duration_s:
            request.max_duration.FromNanoseconds(round(max_duration_s * 1e9))
        return await self._client.stubs.trainer.ResumeTraining(request)

    async def delete(self, name: str) -> None:
        await self._client.stubs.trainer.DeleteModel(pb.DeleteModelRequest(name=self._name(name)))

    def watch(self, name: str, start_step: int = 1) -> AsyncIterator[pb.TrainingSnapshot]:
        """Training step by step until it ends, through outages of the platform."""

        async def watched(step: int) -> AsyncIterator[pb.TrainingSnapshot]:
            request = pb.WatchTrainingRequest(name=self._name(name), start_step=step)
            async for snapshot in self._client.stubs.trainer.WatchTraining(request):
                if snapshot.step:  # else a heartbeat
                    yield snapshot

        return resumed(watched, start_step, lambda snapshot: snapshot.step + 1)

    async def logs(self, name: str) -> AsyncIterator[str]:
        """What the training's processes wrote so far, line by line; there also when they are gone."""
        request = pb.ReadTrainingLogRequest(name=self._name(name))
        async for part in self._client.stubs.trainer.ReadTrainingLog(request):
            for line in part.lines:
                yield line


def source_uri(source: str | Path) -> str | None:
    """The URI to import from, or None for a local folder. Raises Invalid for a path that is not there."""
    text = str(source)
    if "://" in text:
        return text
    if Path(text).expanduser().is_dir():
        return None
    if isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise errors.Invalid(f"{text} is not a folder; give a checkpoint's folder or a hub id like org/name")
    return f"hf://{text}"


def checkpoint_files(folder: Path) -> list[Path]:
    """The files to send, weights last, so that a wrong configuration is refused before they travel."""
    if not folder.is_dir():
        raise errors.Invalid(f"{folder} is not a folder", reason="SOURCE_NOT_FOUND")
    paths = [
        p
        for p in sorted(folder.iterdir())
        if p.is_file() and any(fnmatch(p.name, pattern) for pattern in _CHECKPOINT_FILES)
    ]
    if not any(p.name == "config.json" for p in paths):
        raise errors.Invalid(f"{folder} has no config.json, so it is no checkpoint", reason="MODEL_NO_CONFIG")
    if not any(p.suffix == ".safetensors" for p in paths):
        raise errors.Invalid(
            f"{folder} has no .safetensors file; convert it with save_pretrained(safe_serialization=True)",
            reason="MODEL_NOT_SAFETENSORS",
        )
    return sorted(paths, key=lambda p: p.suffix == ".safetensors")


def _upload_messages(
    header: pb.UploadModelHeader, paths: list[Path], digests: dict[str, str]
) -> Iterator[pb.UploadModelRequest]:
    """Fills `digests` by the name of each file as it goes."""
    yield pb.UploadModelRequest(header=header)
    for path in paths:
        yield pb.UploadModelRequest(file_name=path.name)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                yield pb.UploadModelRequest(chunk=chunk)
        digests[path.name] = digest.hexdigest()
