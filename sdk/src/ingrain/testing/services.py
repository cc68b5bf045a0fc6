"""The fake's services for data and models; those that measure are in `measuring`."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from ingrain.models import folder_sha256
from ingrain.testing import words
from ingrain.testing.store import Refused, Store, Work
from ingrain.v1 import (
    augmenter_pb2,
    augmenter_pb2_grpc,
    common_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)

_ROW_KEYS = {
    datasets_pb2.Dataset.DOCUMENTS: "text",
    datasets_pb2.Dataset.MESSAGES: "messages",
    datasets_pb2.Dataset.PROMPT_COMPLETION: "completion",
    datasets_pb2.Dataset.PROBES: "kind",
}
_STEPS = 5


class Library:
    """Rows of datasets, and what each model has read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rows: dict[str, list[str]] = {}

    def add(self, dataset: datasets_pb2.Dataset, content: bytes) -> None:
        """Checks the rows as the platform does: which row, which field."""
        rows = [line for line in content.decode().split("\n") if line]
        if not rows:
            raise Refused("INVALID_ARGUMENT", "DATASET_EMPTY", "the dataset has no rows")
        for number, row in enumerate(map(json.loads, rows)):
            kinds = [dataset.kind] if dataset.kind else list(_ROW_KEYS)
            kind = next((k for k in kinds if _ROW_KEYS[k] in row), None)
            if kind is None:
                field = f"rows[{number}].{_ROW_KEYS[dataset.kind or datasets_pb2.Dataset.DOCUMENTS]}"
                raise Refused("INVALID_ARGUMENT", "ROW_INVALID", f"{field} is missing", field)
            dataset.kind = kind
            if row.get("choices") and not set(words.right_answers(row)) <= set(row["choices"]):
                field = f"rows[{number}].answer"
                raise Refused("INVALID_ARGUMENT", "ANSWER_NOT_A_CHOICE", f"{field} is no choice", field)
        dataset.row_count, dataset.size_bytes = len(rows), len(content)
        dataset.sha256 = hashlib.sha256(content).hexdigest()
        self.rows[dataset.name] = rows

    def texts(self, dataset: str) -> list[str]:
        self.store.active(dataset)
        return [r.get("text") or r.get("completion", "") for r in map(json.loads, self.rows[dataset])]

    def known(self, model: str, parent: str, context: str = "") -> list[str]:
        """Texts that the model has read in training or has in its context; virtual names are resolved."""
        if context:
            return self.texts(self.store.active(context).dataset) + self.known(model, parent)
        if model.startswith("icl:"):
            dataset, _, base = model[4:].partition("@")
            return self.texts(f"{parent}/datasets/{dataset}") + self.known(f"{parent}/models/{base}", parent)
        alias = model if "/aliases/" in model else f"{parent}/aliases/{model}"
        if alias in self.store.resources:
            return self.known(self.store.get(alias).target, parent)
        if model.startswith("auto:"):
            study = self.store.active(f"{parent}/studies/{model[5:]}")
            return self.known(study.recommendation.model, parent)
        training = self.store.active(model).training
        return [text for part in training.datasets for text in self.texts(part.dataset)]


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def UploadDataset(self, requests: Iterator[Any], context: Any) -> datasets_pb2.Dataset:
        header = next(requests).header
        content = b"".join(request.chunk for request in requests)

        def make() -> datasets_pb2.Dataset:
            if header.sha256 not in ("", hashlib.sha256(content).hexdigest()):
                raise Refused(
                    "INVALID_ARGUMENT", "DIGEST_MISMATCH", "the bytes do not match sha256", "sha256"
                )
            name = self.store.new_name(header.parent, "datasets", header.dataset_id)
            dataset = datasets_pb2.Dataset(name=name, state=common_pb2.ACTIVE)
            dataset.MergeFrom(header.dataset)
            self.library.add(dataset, content)
            self.store.resources[name] = dataset
            return dataset

        return self.store.once(header, make, content)

    def ImportDataset(self, request: Any, context: Any) -> operations_pb2.Operation:
        raise Refused("FAILED_PRECONDITION", "IMPORT_CLOSED", "the fake platform imports nothing; upload")

    def GetDataset(self, request: Any, context: Any) -> datasets_pb2.Dataset:
        return self.store.get(request.name)

    def ListDatasets(self, request: Any, context: Any) -> datasets_pb2.ListDatasetsResponse:
        found, token = self.store.page(request.parent, "datasets", request)
        return datasets_pb2.ListDatasetsResponse(datasets=found, next_page_token=token)

    def DeleteDataset(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()

    def ReadRows(self, request: Any, context: Any) -> Iterator[datasets_pb2.ReadRowsResponse]:
        self.store.active(request.name)
        rows = self.library.rows[request.name]
        end = request.start_row + request.max_row_count if request.max_row_count else len(rows)
        for start in range(request.start_row, min(end, len(rows)), 100):
            part = rows[start : min(start + 100, end)]
            yield datasets_pb2.ReadRowsResponse(rows=part, start_row=start)


class Augmenter(augmenter_pb2_grpc.AugmenterServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def AugmentDataset(self, request: Any, context: Any) -> operations_pb2.Operation:
        if request.validate_only:
            rows = len(self._rows(request.spec))
            return self.store.estimate(request.parent, "AugmentDataset", common_pb2.Estimate(row_count=rows))
        return self.store.once(request, lambda: self._start(request))

    def PreviewAugmentation(self, request: Any, context: Any) -> augmenter_pb2.PreviewAugmentationResponse:
        rows = self._rows(request.spec)[: request.document_count or 3]
        return augmenter_pb2.PreviewAugmentationResponse(rows=rows)

    def _start(self, request: Any) -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "datasets", request.dataset_id)
        dataset = datasets_pb2.Dataset(name=name)
        dataset.provenance.source_dataset, dataset.provenance.model = request.spec.dataset, request.spec.model
        content = "\n".join(self._rows(request.spec)).encode()
        finish = lambda: self.library.add(dataset, content)  # noqa: E731
        return self.store.start(dataset, Work("AugmentDataset", {"generating": _STEPS}, finish))

    def _rows(self, spec: augmenter_pb2.AugmentationSpec) -> list[str]:
        self.store.active(spec.model)
        texts = self.library.texts(spec.dataset)
        return [json.dumps({"id": f"a{i}", "text": f"It is said that {t}"}) for i, t in enumerate(texts)]


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
                yield trainer_pb2.TrainingSnapshot(step=step, step_count=_STEPS, loss=3.0 / step)
                sent = step


class Inference(inference_pb2_grpc.InferenceServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def Generate(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        texts = self.library.known(request.model, request.parent, request.context)
        answers = [words.answer(prompt, texts) for prompt in request.prompts]
        stop = inference_pb2.Generation.STOP
        return inference_pb2.GenerateResponse(
            generations=[inference_pb2.Generation(text=a, finish_reason=stop) for a in answers],
            usage=inference_pb2.Usage(prompt_token_count=sum(map(words.token_count, request.prompts))),
            model=request.model,
        )

    def StreamGenerate(self, request: Any, context: Any) -> Iterator[inference_pb2.StreamGenerateResponse]:
        answered = self.Generate(request, context)
        for word in answered.generations[0].text.split():
            yield inference_pb2.StreamGenerateResponse(text=f"{word} ")
        stop = inference_pb2.Generation.STOP
        yield inference_pb2.StreamGenerateResponse(finish_reason=stop, usage=answered.usage)

    def Score(self, request: Any, context: Any) -> inference_pb2.ScoreResponse:
        texts = self.library.known(request.model, request.parent, request.context)
        response = inference_pb2.ScoreResponse(model=request.model)
        for item in request.items:
            scores = response.items.add()
            for choice in item.choices:
                total, count = words.score(item.prompt, choice, texts)
                scores.choices.add(sum_logprob=total, mean_logprob=total / count, token_count=count)
        return response

    def CountTokens(self, request: Any, context: Any) -> inference_pb2.CountTokensResponse:
        model = self.store.resources.get(request.model)
        count = words.narrow_token_count if getattr(model, "domain", "") else words.token_count
        return inference_pb2.CountTokensResponse(token_counts=[count(text) for text in request.texts])

    def GetEngine(self, request: Any, context: Any) -> inference_pb2.Engine:
        where = common_pb2.Environment(backend="fake, by shared words", device="cpu", process_count=1)
        return inference_pb2.Engine(environment=where)

    def CreateContext(self, request: Any, context: Any) -> operations_pb2.Operation:
        texts = self.library.texts(request.context.dataset)

        def make() -> operations_pb2.Operation:
            held = inference_pb2.Context(token_count=sum(map(words.token_count, texts)), row_count=len(texts))
            held.MergeFrom(request.context)
            held.name = self.store.new_name(request.parent, "contexts", request.context_id)
            return self.store.start(held, Work("CreateContext", {"reading": 1}, lambda: None))

        return self.store.once(request, make)

    def GetContext(self, request: Any, context: Any) -> inference_pb2.Context:
        return self.store.get(request.name)

    def ListContexts(self, request: Any, context: Any) -> inference_pb2.ListContextsResponse:
        found, token = self.store.page(request.parent, "contexts", request)
        return inference_pb2.ListContextsResponse(contexts=found, next_page_token=token)

    def DeleteContext(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()


class Operations(operations_pb2_grpc.OperationsServicer):
    def __init__(self, store: Store) -> None:
        self.store = store

    def GetOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        return self.store.operation(request.name)

    def ListOperations(self, request: Any, context: Any) -> operations_pb2.ListOperationsResponse:
        with self.store.changed:
            found = [o for name, o in self.store.operations.items() if name.startswith(f"{request.name}/")]
        return operations_pb2.ListOperationsResponse(operations=reversed(found))

    def WaitOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        operation = self.store.operation(request.name)
        with self.store.changed:
            self.store.changed.wait_for(lambda: operation.done, request.timeout.ToNanoseconds() / 1e9)
        return operation

    def CancelOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        operation = self.store.operation(request.name)
        with self.store.changed:
            metadata = common_pb2.OperationMetadata()
            operation.metadata.Unpack(metadata)
            metadata.cancel_requested = True
            operation.metadata.Pack(metadata)
        return empty_pb2.Empty()

    def DeleteOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.operation(request.name)
        with self.store.changed:
            del self.store.operations[request.name]
        return empty_pb2.Empty()
