"""The Datasets service."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import common_pb2, datasets_pb2_grpc
from ingrain.v1 import datasets_pb2 as pb
from servicekit import identity
from servicekit.errors import Invalid, WrongState
from servicekit.failpoints import failpoint
from servicekit.operations import Operations, request_digest
from servicekit.resources import Resources, new_id
from servicekit.storage import Storage
from servicekit.worker import Task
from services.augmenter import sources
from services.augmenter.importing import Reading, bounds_of
from services.augmenter.intake import fill, take_in
from services.augmenter.reading import opened, pages
from services.augmenter.receiving import Upload
from services.augmenter.settings import AugmenterSettings
from services.augmenter.splitting import resolve as splitting_of
from services.augmenter.tracing import trace
from services.augmenter.underway import UnderWay
from services.augmenter.withdrawing import Withdrawing


class Datasets:
    """Datasets as resources and rows, for both services of this process."""

    def __init__(self, settings: AugmenterSettings, storage: Storage, rows: Resources[pb.Dataset]) -> None:
        self.settings = settings
        self.storage = storage
        self.resources = rows
        self.under_way = UnderWay()
        self.parsers = asyncio.Semaphore(settings.import_parsers)

    async def usable(self, name: str) -> pb.Dataset:
        dataset = await self.resources.get(name)
        if dataset.state != common_pb2.ACTIVE:
            raise WrongState(
                "DATASET_NOT_ACTIVE",
                f"{name} is {common_pb2.State.Name(dataset.state)}; only an ACTIVE one can be read",
            )
        return dataset

    async def lines(self, dataset: pb.Dataset) -> AsyncIterator[str]:
        _, lines = await opened(self.storage, self.resources, dataset)
        async for line in lines:
            yield line

    async def import_dataset(self, task: Task, request: pb.ImportDatasetRequest) -> pb.Dataset:
        await task.progress("reading")
        splitting = splitting_of(request.splitting)
        found, counts = await sources.find(request.source_uri, self.settings)
        kind = request.dataset.kind
        reading = Reading(bounds_of(self.settings), counts, "source_uri", self.parsers)
        async with aclosing(reading.rows(found)) as rows:
            taken = await take_in(
                self.storage,
                task.prefix,
                self._counted(task, rows),
                kind,
                self.settings.most_rows,
                splitting,
                counts=counts,
            )
        dataset = fill(await self.resources.get(task.target), taken)
        dataset.counts.update(counts)
        return dataset

    async def _counted(self, task: Task, rows: AsyncIterator[Any]) -> AsyncIterator[Any]:
        count = 0
        async for row in rows:
            count += 1
            await task.progress("reading", count, unit="rows")
            yield row


class DatasetsServicer(datasets_pb2_grpc.DatasetsServicer):
    def __init__(self, datasets: Datasets, operations: Operations) -> None:
        self.datasets = datasets
        self.operations = operations

    async def UploadDataset(
        self, requests: AsyncIterator[pb.UploadDatasetRequest], context: Any
    ) -> pb.Dataset:
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("payload") != "header":
            raise Invalid("NO_HEADER", "the first message of an upload is its header", field="header")
        header = first.header
        identity.authorize(header.parent)
        dataset = new_dataset(header.parent, header.dataset_id, header.dataset)
        prefix = f"{dataset.name}/upload-{new_id('u')}"
        splitting = splitting_of(header.splitting, "header.splitting")
        settings, counts = self.datasets.settings, Counter[str]()
        upload = Upload(header, requests)
        async with upload.rows(settings, counts, self.datasets.parsers) as rows:
            taken = await take_in(
                self.datasets.storage,
                prefix,
                rows,
                header.dataset.kind,
                settings.most_rows,
                splitting,
                counts=counts,
            )
        upload.check()
        dataset.counts.update(counts)
        failpoint("augmenter.after_upload")
        dataset.state = common_pb2.ACTIVE
        dataset.create_time.GetCurrentTime()
        digest = request_digest(header) + taken.sha256
        stored = await self.datasets.resources.insert(
            fill(dataset, taken), header.request_id, sha256_text(digest)
        )
        return shown(stored)

    async def ImportDataset(self, request: pb.ImportDatasetRequest, context: Any) -> Any:
        identity.authorize(request.parent)
        dataset = new_dataset(request.parent, request.dataset_id, request.dataset)
        splitting_of(request.splitting)
        if request.validate_only:
            found, counts = await sources.find(request.source_uri, self.datasets.settings)
            reading = Reading(bounds_of(self.datasets.settings), counts, "source_uri", self.datasets.parsers)
            notes = await reading.survey(found)
            return self.operations.done_with_estimate(
                dataset.name, "ImportDataset", common_pb2.Estimate(notes=notes)
            )
        return await self.operations.start("ImportDataset", request, dataset, request_id=request.request_id)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.Dataset:
        identity.authorize(request.name)
        return shown(await self.datasets.resources.get(request.name))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        identity.authorize(request.parent)
        found, token = await self.datasets.resources.list(
            request.parent, request.page_size, request.page_token
        )
        return pb.ListDatasetsResponse(datasets=map(shown, found), next_page_token=token)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self.datasets.resources.delete(request.name)
        return empty_pb2.Empty()

    async def ReadRows(self, request: pb.ReadRowsRequest, context: Any) -> AsyncIterator[pb.ReadRowsResponse]:
        identity.authorize(request.name)
        dataset = await self.datasets.usable(request.name)
        dataset, lines = await opened(self.datasets.storage, self.datasets.resources, dataset)
        async for page in pages(dataset, lines, request):
            yield page

    async def TraceRows(
        self, request: pb.TraceRowsRequest, context: Any
    ) -> AsyncIterator[pb.TraceRowsResponse]:
        identity.authorize(request.name)
        async for found in trace(self.datasets, request.name, request.row_ids):
            yield found

    async def WithdrawRows(self, request: pb.WithdrawRowsRequest, context: Any) -> Any:
        identity.authorize(request.name)
        return await Withdrawing(self.datasets, self.operations).start(request)


def new_dataset(parent: str, dataset_id: str, given: pb.Dataset) -> pb.Dataset:
    return pb.Dataset(
        name=f"{parent}/datasets/{dataset_id or new_id('dataset')}",
        display_name=given.display_name,
        kind=given.kind,
        labels=given.labels,
    )


def shown(dataset: pb.Dataset) -> pb.Dataset:
    """As the caller may see it: where the bytes lie is for services."""
    if not identity.is_service():
        dataset.uri = ""
    return dataset


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
