"""The fake's models: brought in or trained at once; what they know is in `library`."""

import hashlib
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.models import folder_sha256
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import common_pb2, trainer_pb2, trainer_pb2_grpc

_STEPS = 5


class Trainer(trainer_pb2_grpc.TrainerServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def ImportModel(self, request: Any, context: Any) -> operations_pb2.Operation:
        if request.validate_only:
            return self.store.estimate(request.parent, "ImportModel", common_pb2.Estimate())
        return self.store.once(request, lambda: self._bring_in(request, request.source_uri, "ImportModel"))

    def UploadModel(self, requests: Iterator[Any], context: Any) -> operations_pb2.Operation:
        header, files, name = next(requests).header, {}, ""
        for request in requests:
            if request.WhichOneof("payload") == "file_name":
                name = request.file_name
                files[name] = hashlib.sha256()
            else:
                files[name].update(request.chunk)
        sha256 = folder_sha256({name: digest.hexdigest() for name, digest in files.items()})
        if "config.json" not in files:
            raise Refused("INVALID_ARGUMENT", "MODEL_NO_CONFIG", "there is no config.json", "file_name")
        make = lambda: self._bring_in(header, "upload", "UploadModel", sha256)  # noqa: E731
        return self.store.once(header, make)

    def _bring_in(self, request: Any, source: str, verb: str, sha256: str = "") -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "models", request.model_id)
        model = trainer_pb2.Model(name=name, source=source, sha256=sha256, context_window=2048)
        model.display_name, model.architecture, model.parameter_count = request.display_name, "Fake", 1000
        model.domain = "invented-worlds" if source.startswith("bundled://") else ""
        if isinstance(request, trainer_pb2.ImportModelRequest) and request.HasField("endpoint"):
            model.endpoint.CopyFrom(request.endpoint)
            model.source, model.architecture, model.parameter_count = request.endpoint.base_url, "", 0
        return self.store.start(model, Work(verb, {"copying": 1}, lambda: None))

    def CreateModel(self, request: Any, context: Any) -> operations_pb2.Operation:
        if not request.training.datasets:
            message = "name at least one dataset"
            raise Refused("INVALID_ARGUMENT", "NO_DATASET", message, "training.datasets")
        for part in request.training.datasets:
            self.store.active(part.dataset)
        self.store.active(request.training.base_model)
        if request.validate_only:
            steps = common_pb2.Estimate(step_count=request.training.max_steps or 300)
            return self.store.estimate(request.parent, "CreateModel", steps)
        return self.store.once(request, lambda: self._train(request))

    def _train(self, request: Any) -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "models", request.model_id)
        model = trainer_pb2.Model(
            name=name, base_model=request.training.base_model, training=request.training
        )
        model.summary.step_count = request.training.max_steps or 300
        return self.store.start(model, Work("CreateModel", {"training": _STEPS}, lambda: None))

    def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        return self.store.get(request.name)

    def ListModels(self, request: Any, context: Any) -> trainer_pb2.ListModelsResponse:
        found, token = self.store.page(request.parent, "models", request)
        return trainer_pb2.ListModelsResponse(models=found, next_page_token=token)

    def DeleteModel(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()

    def WatchTraining(self, request: Any, context: Any) -> Iterator[trainer_pb2.TrainingSnapshot]:
        self.store.get(request.name)
        sent = max(request.start_step, 1) - 1
        for metadata in self.store.watch(request.name):
            for step in range(sent + 1, metadata.completed_count + 1):
                snapshot = trainer_pb2.TrainingSnapshot(step=step, step_count=_STEPS, loss=3.0 / step)
                snapshot.learning_rate, snapshot.grad_norm, snapshot.tokens_per_second = 1e-4, 1.0, 1000.0
                snapshot.remaining_duration.FromSeconds(_STEPS - step)
                if step == _STEPS:
                    snapshot.measurement.CopyFrom(trainer_pb2.TrainingMeasurement(step=step, eval_loss=1.5))
                yield snapshot
                sent = step

    def ReadTrainingLog(self, request: Any, context: Any) -> Iterator[trainer_pb2.ReadTrainingLogResponse]:
        self.store.get(request.name)
        yield trainer_pb2.ReadTrainingLogResponse(lines=["--- attempt 1", "nothing was trained here"])
