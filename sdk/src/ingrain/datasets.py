"""`client.datasets`: rows up, rows down."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ingrain import errors
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, message_from, pages, resumed
from ingrain.rows import Spool, spool
from ingrain.v1 import augmenter_pb2
from ingrain.v1 import datasets_pb2 as pb

_UPLOAD_ATTEMPTS = 5  # with pauses of 0.25, 0.5, 1 and 2 s: time for a process to be started again


class AsyncDatasets(Resource):
    collection = "datasets"

    async def upload(
        self,
        rows: Any,
        id: str | None = None,
        kind: str | int | None = None,
        display_name: str = "",
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        splitting: Mapping[str, int] | None = None,
    ) -> pb.Dataset:
        """Rows: a list of dicts, a DataFrame, a .jsonl/.txt/.md/.html/.pdf/.docx/.csv/.parquet file, an archive or a folder
        of such. What is more than text the platform reads; `counts` of the dataset says what was read and what was not.

        `kind`: `documents`, `messages`, `prompt_completion`, `probes`, `prompts` or `answers`; None: by the first row.
        `splitting`: of long documents, `{"max_characters": 2000, "overlap_characters": 200}`; None: they stay whole.
        Safe to repeat with the same `request_id`.
        """
        header = pb.UploadDatasetHeader(
            parent=self._client.parent,
            dataset_id=id or "",
            dataset=pb.Dataset(kind=kind_number(kind), display_name=display_name, labels=labels or {}),
            request_id=request_id or str(uuid.uuid4()),
            splitting=splitting_message(splitting),
        )
        spooled = spool(rows)
        with spooled.file:
            header.sha256, header.file_name = spooled.sha256, spooled.file_name
            for attempt in range(1, _UPLOAD_ATTEMPTS + 1):
                try:
                    return await self._client.stubs.datasets.UploadDataset(upload_messages(header, spooled))
                except errors.Unavailable:
                    if attempt == _UPLOAD_ATTEMPTS:
                        raise
                await asyncio.sleep(2.0**attempt / 8)
        raise AssertionError("unreachable")

    async def import_(
        self,
        source_uri: str,
        id: str | None = None,
        kind: str | int | None = None,
        display_name: str = "",
        validate_only: bool = False,
        splitting: Mapping[str, int] | None = None,
        request_id: str = "",
    ) -> AsyncOperation:
        """From `s3://` or `file://` that the platform can reach: what `upload` takes, read there. `validate_only`: the
        notes of `metadata.estimate` say what would be read."""
        request = pb.ImportDatasetRequest(
            parent=self._client.parent,
            dataset_id=id or "",
            dataset=pb.Dataset(kind=kind_number(kind), display_name=display_name),
            source_uri=source_uri,
            validate_only=validate_only,
            splitting=splitting_message(splitting),
            request_id=request_id,
        )
        return AsyncOperation(self._client, await self._client.stubs.datasets.ImportDataset(request))

    async def augment(
        self,
        dataset: str,
        model: str = "",
        id: str | None = None,
        validate_only: bool = False,
        request_id: str = "",
        **spec: Any,
    ) -> AsyncOperation:
        """A dataset that `model` infers from `dataset`; keywords are those of AugmentationSpec. Strategies that ask no model
        need none."""
        request = augmenter_pb2.AugmentDatasetRequest(
            parent=self._client.parent,
            dataset_id=id or "",
            spec=self.augmentation(dataset, model, **spec),
            validate_only=validate_only,
            request_id=request_id,
        )
        return AsyncOperation(self._client, await self._client.stubs.augmenter.AugmentDataset(request))

    async def preview_augmentation(
        self, dataset: str, model: str = "", document_count: int = 3, **spec: Any
    ) -> augmenter_pb2.PreviewAugmentationResponse:
        """A few derived rows, nothing stored."""
        request = augmenter_pb2.PreviewAugmentationRequest(
            parent=self._client.parent,
            spec=self.augmentation(dataset, model, **spec),
            document_count=document_count,
        )
        return await self._client.stubs.augmenter.PreviewAugmentation(request)

    def augmentation(self, dataset: str, model: str, **spec: Any) -> augmenter_pb2.AugmentationSpec:
        names = {"dataset": self._name(dataset), "model": model and self._client.model_name(model)}
        return message_from(augmenter_pb2.AugmentationSpec, **names, **spec)

    async def get(self, name: str) -> pb.Dataset:
        return await self._client.stubs.datasets.GetDataset(pb.GetDatasetRequest(name=self._name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Dataset]:
        """Newest first."""
        request = pb.ListDatasetsRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.datasets.ListDatasets, request, "datasets")

    async def delete(self, name: str) -> None:
        await self._client.stubs.datasets.DeleteDataset(pb.DeleteDatasetRequest(name=self._name(name)))

    async def rows(self, name: str, start: int = 0, limit: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Rows from `start`, at most `limit` (0: all). Raises WrongState `DATASET_CHANGED` where the platform was away
        meanwhile and rows were withdrawn: what follows would not be what was read before."""
        request = pb.ReadRowsRequest(name=self._name(name), max_row_count=limit)

        def read(position: int) -> AsyncIterator[pb.ReadRowsResponse]:
            request.start_row = position
            request.max_row_count = limit and limit - (position - start)
            return self._client.stubs.datasets.ReadRows(request)

        async for message in resumed(read, start, lambda m: m.start_row + len(m.rows)):
            request.sha256 = message.sha256
            for row in message.rows:
                yield json.loads(row)


def splitting_message(splitting: Mapping[str, int] | None) -> pb.Splitting | None:
    return None if splitting is None else message_from(pb.Splitting, **splitting)


def kind_number(kind: str | int | None) -> int:
    if not isinstance(kind, str):
        return kind or 0
    try:
        return pb.Dataset.Kind.Value(kind.upper())
    except ValueError:
        known = ", ".join(name.lower() for name in pb.Dataset.Kind.keys()[1:])
        raise errors.Invalid(f"unknown kind {kind!r}; one of {known}") from None


def upload_messages(header: pb.UploadDatasetHeader, spooled: Spool):
    yield pb.UploadDatasetRequest(header=header)
    for chunk in spooled.chunks():
        yield pb.UploadDatasetRequest(chunk=chunk)
