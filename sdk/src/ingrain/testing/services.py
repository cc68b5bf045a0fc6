"""The fake's datasets and augmentations."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.testing import lineage
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import (
    augmenter_pb2,
    augmenter_pb2_grpc,
    common_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
)

_STEPS = 5
_STRATEGIES = (
    *("rephrase", "reverse", "infer", "question_answer", "summarize", "active_reading"),
    *("link", "about", "entity_pairs"),
)
_WITHOUT_MODEL = {"reverse_words", "identity_bridge", "masked"}
# What the platform reads by the endings of files' names; here only rows.
_READABLE = (
    "",
    "jsonl",
    "txt",
    "md",
    "html",
    "htm",
    "pdf",
    "docx",
    "csv",
    "parquet",
    "zip",
    "tar",
    "gz",
    "bz2",
    "xz",
)


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def UploadDataset(self, requests: Iterator[Any], context: Any) -> datasets_pb2.Dataset:
        first = next(requests, datasets_pb2.UploadDatasetRequest())
        if not first.HasField("header"):
            message = "the first message of an upload is its header"
            raise Refused("INVALID_ARGUMENT", "NO_HEADER", message, "header")
        header = first.header
        _refuse_files(header)
        content = b"".join(_chunks(requests))
        given = header.dataset
        dataset = datasets_pb2.Dataset(display_name=given.display_name, kind=given.kind, labels=given.labels)
        dataset.name = self.store.name_of(header.parent, "datasets", header.dataset_id)
        rows = self.library.checked(dataset, content)
        if header.sha256 not in ("", hashlib.sha256(content).hexdigest()):
            message = "the bytes that arrived are not those of the header's sha256; send again"
            raise Refused("INVALID_ARGUMENT", "SHA256_MISMATCH", message, "header.sha256")

        def make() -> datasets_pb2.Dataset:
            self.store.new_name(header.parent, "datasets", dataset.name.rpartition("/")[2])
            self.library.rows[dataset.name] = rows
            return self.store.put(dataset)

        return self.store.once(header, make, dataset.sha256.encode())

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

    def TraceRows(self, request: Any, context: Any) -> Iterator[datasets_pb2.TraceRowsResponse]:
        return lineage.traced(self.library, request)

    def WithdrawRows(self, request: Any, context: Any) -> operations_pb2.Operation:
        return lineage.withdrawal(self.library, request)

    def ReadRows(self, request: Any, context: Any) -> Iterator[datasets_pb2.ReadRowsResponse]:
        sha256 = self.store.active(request.name).sha256
        if request.sha256 not in ("", sha256):
            message = (
                f"rows of {request.name} were withdrawn while it was read; read it again from the first row"
            )
            raise Refused(
                "FAILED_PRECONDITION", "DATASET_CHANGED", message, dataset=request.name, sha256=sha256
            )
        rows = self.library.rows[request.name]
        end = request.start_row + request.max_row_count if request.max_row_count else len(rows)
        for start in range(request.start_row, min(end, len(rows)), 100):
            part = rows[start : min(start + 100, end)]
            yield datasets_pb2.ReadRowsResponse(rows=part, start_row=start, sha256=sha256)


def _refuse_files(header: datasets_pb2.UploadDatasetHeader) -> None:
    """The fake takes rows as they are."""
    ending = header.file_name.rpartition(".")[2].lower()
    if ending not in _READABLE:
        message = f"{header.file_name!r} is none of {', '.join(filter(None, _READABLE))}"
        raise Refused("INVALID_ARGUMENT", "UNKNOWN_FORMAT", message, "header.file_name")
    if ending not in ("", "jsonl") or header.splitting.max_characters:
        message = "the fake platform takes rows as they are: it reads no files and splits no documents"
        raise Refused("FAILED_PRECONDITION", "READS_NO_FILES", message)


def _chunks(requests: Iterator[Any]) -> Iterator[bytes]:
    for request in requests:
        if request.HasField("header"):
            raise Refused("INVALID_ARGUMENT", "SECOND_HEADER", "an upload has one header, first", "header")
        yield request.chunk


class Augmenter(augmenter_pb2_grpc.AugmenterServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def AugmentDataset(self, request: Any, context: Any) -> operations_pb2.Operation:
        rows = self._rows(request.spec)
        if request.validate_only:
            name = self.store.name_of(request.parent, "datasets", request.dataset_id)
            return self.store.estimate(name, "AugmentDataset", common_pb2.Estimate(row_count=len(rows)))
        return self.store.once(request, lambda: self._start(request))

    def PreviewAugmentation(self, request: Any, context: Any) -> augmenter_pb2.PreviewAugmentationResponse:
        made = map(json.loads, self._rows(request.spec)[: request.document_count or 3])
        rows = [json.dumps({key: value for key, value in row.items() if key != "id"}) for row in made]
        shown = augmenter_pb2.PreviewAugmentationResponse(rows=rows)
        texts = self.library.texts(request.spec.dataset)
        for strategy in request.spec.strategies or ["rephrase"]:
            shown.prompts[strategy] = f"{texts[0]}\n\nIn other words:"
            shown.dropped.add(reason="copy", text=texts[0], strategy=strategy)
        return shown

    def _start(self, request: Any) -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "datasets", request.dataset_id)
        dataset, rows = datasets_pb2.Dataset(name=name), self._rows(request.spec)
        dataset.display_name = f"derived from {request.spec.dataset.rpartition('/')[2]}"
        made = dataset.provenance
        made.source_dataset, made.model = request.spec.dataset, request.spec.model
        made.source_sha256 = self.store.get(made.source_dataset).sha256
        made.strategies.extend(request.spec.strategies or ["rephrase"])
        made.kept_counts[made.strategies[0]], made.dropped_counts["copy"] = len(rows), 1
        made.dropped_examples["copy"].texts.append(self.library.texts(request.spec.dataset)[0])
        made.prompt_count = made.cost.prompt_token_count = made.cost.generated_token_count = len(rows)
        content = "\n".join(rows).encode()
        finish = lambda: self.library.add(dataset, content)  # noqa: E731
        return self.store.start(dataset, Work("AugmentDataset", {"generating": _STEPS}, finish))

    def _rows(self, spec: augmenter_pb2.AugmentationSpec) -> list[str]:
        _refuse_unknown(spec)
        self.library.documents(spec.dataset, "spec.dataset")
        if spec.model:
            self.store.active(spec.model)
        strategy = spec.strategies[0] if spec.strategies else "rephrase"
        texts = self.library.texts(spec.dataset)
        ids = [json.loads(row).get("id", "") for row in self.library.rows[spec.dataset]]
        return [
            json.dumps(
                {
                    "id": f"a{i}",
                    "text": f"It is said that {text}",
                    "metadata": {"strategy": strategy},
                    "provenance": {"source_rows": [id], "strategy": strategy},
                }
            )
            for i, (id, text) in enumerate(zip(ids, texts, strict=True))
        ]


def _refuse_unknown(spec: augmenter_pb2.AugmentationSpec) -> None:
    known = {*_STRATEGIES, *_WITHOUT_MODEL, *(prompt.strategy for prompt in spec.prompts)}
    for number, strategy in enumerate(spec.strategies):
        if strategy not in known:
            message, field = f"there is no strategy {strategy!r}", f"spec.strategies[{number}]"
            raise Refused("INVALID_ARGUMENT", "UNKNOWN_STRATEGY", message, field)
    if spec.prompt_set not in ("", "default", "heldout"):
        message = f"there is no prompt set {spec.prompt_set!r}"
        raise Refused("INVALID_ARGUMENT", "UNKNOWN_PROMPT_SET", message, "spec.prompt_set")
    if not spec.model and not (spec.strategies and set(spec.strategies) <= _WITHOUT_MODEL):
        raise Refused("INVALID_ARGUMENT", "NO_MODEL", "a model must be named", "spec.model")
