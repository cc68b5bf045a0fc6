"""The fake's datasets, augmentations and operations; models, inference, evaluations and studies are in modules of their own."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from ingrain.testing import lineage
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Store, Work
from ingrain.v1 import (
    augmenter_pb2,
    augmenter_pb2_grpc,
    common_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
)

_STEPS = 5


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def UploadDataset(self, requests: Iterator[Any], context: Any) -> datasets_pb2.Dataset:
        header = next(requests).header
        content = b"".join(request.chunk for request in requests)

        def make() -> datasets_pb2.Dataset:
            if header.file_name or header.splitting.max_characters:
                raise Refused(
                    "FAILED_PRECONDITION",
                    "READS_NO_FILES",
                    "the fake platform takes rows as they are: it reads no files and splits no documents",
                )
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

    def TraceRows(self, request: Any, context: Any) -> Iterator[datasets_pb2.TraceRowsResponse]:
        return lineage.traced(self.library, request)

    def WithdrawRows(self, request: Any, context: Any) -> operations_pb2.Operation:
        return lineage.withdrawal(self.library, request)

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
        shown = augmenter_pb2.PreviewAugmentationResponse(rows=rows)
        texts = self.library.texts(request.spec.dataset)
        for strategy in request.spec.strategies or ["rephrase"]:
            shown.prompts[strategy] = f"{texts[0]}\n\nIn other words:"
            shown.dropped.add(reason="copy", text=texts[0], strategy=strategy)
        return shown

    def _start(self, request: Any) -> operations_pb2.Operation:
        name = self.store.new_name(request.parent, "datasets", request.dataset_id)
        dataset, rows = datasets_pb2.Dataset(name=name), self._rows(request.spec)
        made = dataset.provenance
        made.source_dataset, made.model = request.spec.dataset, request.spec.model
        made.strategies.extend(request.spec.strategies or ["rephrase"])
        made.kept_counts[made.strategies[0]], made.dropped_counts["copy"] = len(rows), 1
        made.dropped_examples["copy"].texts.append(self.library.texts(request.spec.dataset)[0])
        made.prompt_count = made.cost.prompt_token_count = made.cost.generated_token_count = len(rows)
        content = "\n".join(rows).encode()
        finish = lambda: self.library.add(dataset, content)  # noqa: E731
        return self.store.start(dataset, Work("AugmentDataset", {"generating": _STEPS}, finish))

    def _rows(self, spec: augmenter_pb2.AugmentationSpec) -> list[str]:
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
