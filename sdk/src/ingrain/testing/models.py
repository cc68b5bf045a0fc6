"""The fake's models: brought in or trained at once; what they know is in `library`."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.models import folder_sha256
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import common_pb2, trainer_pb2, trainer_pb2_grpc

_STEPS = 5
_PART_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


class Trainer(trainer_pb2_grpc.TrainerServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store
        self.uploads: dict[str, Any] = {}  # files and parts by the upload's id
        self.files: dict[str, dict[str, bytes]] = {}  # by the model's name and the file's

    def ImportModel(self, request: Any, context: Any) -> operations_pb2.Operation:
        if bool(request.source_uri) == request.HasField("endpoint"):
            message = "send a source_uri or an endpoint, and not both"
            raise Refused("INVALID_ARGUMENT", "ONE_SOURCE", message, "source_uri")
        if request.validate_only:
            name = self.store.name_of(request.parent, "models", request.model_id)
            return self.store.estimate(name, "ImportModel", common_pb2.Estimate())
        return self.store.once(request, lambda: self._bring_in(request, request.source_uri, "ImportModel"))

    def StartModelUpload(self, request: Any, context: Any) -> trainer_pb2.ModelUpload:
        body = request.SerializeToString(deterministic=True)
        upload_id = f"u-{hashlib.sha256(body).hexdigest()[:40]}"
        _, parts = self.uploads.setdefault(upload_id, (request.files, {}))
        there = [trainer_pb2.UploadedPart(file_name=name, part_number=number) for name, number in parts]
        return trainer_pb2.ModelUpload(upload_id=upload_id, part_size_bytes=_PART_BYTES, parts=there)

    def UploadModelPart(self, requests: Iterator[Any], context: Any) -> trainer_pb2.UploadModelPartResponse:
        header = _header(requests, trainer_pb2.UploadModelPartRequest())
        parts = self._upload(header.upload_id)[1]
        content = b"".join(request.chunk for request in requests)
        if hashlib.sha256(content).hexdigest() != header.sha256:
            message = "the part's bytes have another sha256 than its header says"
            raise Refused("INVALID_ARGUMENT", "WRONG_PART_BYTES", message, "header.sha256")
        parts[header.file_name, header.part_number] = content
        return trainer_pb2.UploadModelPartResponse(size_bytes=len(content))

    def FinishModelUpload(self, request: Any, context: Any) -> operations_pb2.Operation:
        contents: dict[str, bytes] = {}
        if request.upload_id in self.uploads:
            contents = _whole(*self._upload(request.upload_id))

        def make() -> operations_pb2.Operation:
            finish = lambda: self.uploads.pop(self._known(request.upload_id))  # noqa: E731
            return self._bring_in(request, "upload", "FinishModelUpload", contents, finish)

        return self.store.once(request, make)

    def _known(self, upload_id: str) -> str:
        self._upload(upload_id)
        return upload_id

    def _upload(self, upload_id: str) -> Any:
        if upload_id not in self.uploads:
            message = f"there is no upload {upload_id}"
            raise Refused("NOT_FOUND", "UPLOAD_NOT_FOUND", message, upload_id=upload_id)
        return self.uploads[upload_id]

    def PauseTraining(self, request: Any, context: Any) -> trainer_pb2.Model:
        """Takes no further step until it is resumed."""
        return self._set_paused(request.name, True)

    def ResumeTraining(self, request: Any, context: Any) -> trainer_pb2.Model:
        return self._set_paused(request.name, False)

    def _set_paused(self, name: str, paused: bool) -> trainer_pb2.Model:
        with self.store.changed:
            model = self.store.get(name)
            if model.state != common_pb2.CREATING or not model.base_model:
                state = common_pb2.State.Name(model.state)
                message = f"{name} is {state}; only a training at work can be paused or resumed"
                raise Refused("FAILED_PRECONDITION", "TRAINING_NOT_RUNNING", message, state=state)
            model.paused = paused
            self.store.changed.notify_all()
            return model

    def UploadModel(self, requests: Iterator[Any], context: Any) -> operations_pb2.Operation:
        header, files, name = _header(requests, trainer_pb2.UploadModelRequest()), {}, ""
        for request in requests:
            if request.WhichOneof("payload") == "file_name":
                name = request.file_name
                files[name] = b""
            elif not name:
                message = "a chunk comes after the name of its file"
                raise Refused("INVALID_ARGUMENT", "CHUNK_WITHOUT_FILE", message, "chunk")
            else:
                files[name] += request.chunk
        if not files:
            raise Refused("INVALID_ARGUMENT", "NO_FILES", "no file was sent", "file_name")
        if "config.json" not in files:
            raise Refused("INVALID_ARGUMENT", "MODEL_NO_CONFIG", "there is no config.json", "file_name")
        make = lambda: self._bring_in(header, "upload", "UploadModel", files)  # noqa: E731
        return self.store.once(header, make)

    def _bring_in(
        self,
        request: Any,
        source: str,
        verb: str,
        files: dict[str, bytes] | None = None,
        finish: Callable[[], Any] = lambda: None,
    ) -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "models", request.model_id)
        model = trainer_pb2.Model(name=name, source=source, context_window=2048)
        model.sha256 = self._keep(name, files)
        model.display_name, model.architecture, model.parameter_count = request.display_name, "Fake", 1000
        model.layer_count, model.hidden_size = 1, 8
        model.size_bytes = sum(map(len, self.files[name].values()))
        model.domain = "invented-worlds" if source.startswith("bundled://") else ""
        if isinstance(request, trainer_pb2.ImportModelRequest) and request.HasField("endpoint"):
            model.endpoint.CopyFrom(request.endpoint)
            model.source, model.architecture, model.parameter_count = request.endpoint.base_url, "", 0

        def end() -> None:
            if source.startswith("bundled://") and source != "bundled://small":
                raise Refused("NOT_FOUND", "SOURCE_NOT_FOUND", f"there is no {source}", source_uri=source)
            finish()

        return self.store.start(model, Work(verb, {"copying": 1}, end))

    def _keep(self, name: str, files: dict[str, bytes] | None = None) -> str:
        """The digest of the files: those that were sent, else two small ones; a fake has no weights."""
        readme = f"# {name}\n\nA model of the fake platform: it answers by shared words.\n"
        kept = files or {"README.md": readme.encode(), "config.json": b'{"architectures": ["Fake"]}'}
        self.files[name] = dict(sorted(kept.items()))
        return folder_sha256({name: hashlib.sha256(content).hexdigest() for name, content in kept.items()})

    def CreateModel(self, request: Any, context: Any) -> operations_pb2.Operation:
        training = request.training
        self.store.active(training.base_model)
        if training.max_tokens and training.max_steps:
            message = "a training ends after max_steps or after max_tokens; send one of them"
            raise Refused("INVALID_ARGUMENT", "TOKENS_AND_STEPS", message, "training.max_tokens")
        if request.validate_only:
            self._require_data(training)
            name = self.store.name_of(request.parent, "models", request.model_id)
            steps = common_pb2.Estimate(step_count=training.max_steps or 300)
            return self.store.estimate(name, "CreateModel", steps)
        return self.store.once(request, lambda: self._train(request))

    def _train(self, request: Any) -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "models", request.model_id)
        model = trainer_pb2.Model(
            name=name, base_model=request.training.base_model, training=request.training
        )
        model.sha256, model.display_name = self._keep(name), request.display_name
        model.summary.step_count = request.training.max_steps or 300
        finish = lambda: self._require_data(request.training)  # noqa: E731
        return self.store.start(model, Work("CreateModel", {"training": _STEPS}, finish))

    def _require_data(self, training: trainer_pb2.TrainingSpec) -> None:
        for name in (part.dataset for part in training.datasets):
            if name not in self.store.resources:
                message = f"there is no dataset {name}"
                raise Refused("NOT_FOUND", "DATASET_NOT_FOUND", message, dataset=name)
            self.store.active(name)

    def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        return self.store.get(request.name)

    def ListModels(self, request: Any, context: Any) -> trainer_pb2.ListModelsResponse:
        found, token = self.store.page(request.parent, "models", request)
        return trainer_pb2.ListModelsResponse(models=found, next_page_token=token)

    def DeleteModel(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()

    def DownloadModel(self, request: Any, context: Any) -> Iterator[trainer_pb2.DownloadModelResponse]:
        model = self.store.active(request.name)
        if model.HasField("endpoint"):
            message = f"{model.endpoint.base_url} answers for {model.name}; its files are not here"
            raise Refused("FAILED_PRECONDITION", "MODEL_HAS_NO_FILES", message)
        if model.name not in self.files:
            self._keep(model.name)
        files = self.files[model.name]
        if request.start_file and request.start_file not in files:
            raise Refused("INVALID_ARGUMENT", "UNKNOWN_FILE", f"no file {request.start_file!r}", "start_file")
        first = list(files).index(request.start_file or next(iter(files)))
        start = request.start_byte
        for name, content in list(files.items())[first:]:
            sha256 = hashlib.sha256(content).hexdigest()
            head = trainer_pb2.UploadFile(name=name, size_bytes=len(content), sha256=sha256)
            yield trainer_pb2.DownloadModelResponse(file=head)
            for begin in range(start, len(content), _CHUNK_BYTES):
                yield trainer_pb2.DownloadModelResponse(chunk=content[begin : begin + _CHUNK_BYTES])
            start = 0

    def WatchTraining(self, request: Any, context: Any) -> Iterator[trainer_pb2.TrainingSnapshot]:
        self.store.get(request.name)
        sent = max(request.start_step, 1) - 1
        for metadata in self.store.watch(request.name):
            if metadata is None:
                yield trainer_pb2.TrainingSnapshot()
                continue
            if metadata.verb != "CreateModel":
                return
            for step in range(sent + 1, metadata.completed_count + 1):
                snapshot = trainer_pb2.TrainingSnapshot(step=step, step_count=_STEPS, loss=3.0 / step)
                snapshot.learning_rate, snapshot.grad_norm, snapshot.tokens_per_second = 1e-4, 1.0, 1000.0
                snapshot.remaining_duration.FromSeconds(_STEPS - step)
                if step == _STEPS:
                    snapshot.measurement.CopyFrom(trainer_pb2.TrainingMeasurement(step=step, eval_loss=1.5))
                yield snapshot
                sent = step

    def ReadTrainingLog(self, request: Any, context: Any) -> Iterator[trainer_pb2.ReadTrainingLogResponse]:
        if self.store.get(request.name).base_model:
            lines = ["--- attempt 1", "nothing was trained here"]
            yield trainer_pb2.ReadTrainingLogResponse(lines=lines)


def _whole(files: Any, parts: dict[tuple[str, int], bytes]) -> dict[str, bytes]:
    """The files of an upload, all of whose parts must be there."""
    contents = {
        file.name: b"".join(parts.get((file.name, n), b"") for n in range(len(parts) + 1)) for file in files
    }
    for file in files:
        if hashlib.sha256(contents[file.name]).hexdigest() != file.sha256:
            raise Refused("FAILED_PRECONDITION", "UPLOAD_INCOMPLETE", f"{file.name} is not whole")
    return contents


def _header(requests: Iterator[Any], empty: Any) -> Any:
    first = next(requests, empty)
    if not first.HasField("header"):
        raise Refused("INVALID_ARGUMENT", "HEADER_MISSING", "the first message must be the header", "header")
    return first.header
