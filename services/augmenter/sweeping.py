"""The bytes of deleted datasets go, when nobody is likely to read them any more and nothing that is there was derived of them.

With them go kept outputs of prompts that had their texts in sight, but for texts that another dataset of the project has:
who replaces documents by changed ones is not made to pay for the others again. What is at work at a dataset when it is
deleted ends by itself; it is waited for.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence

import sqlalchemy as sa
import structlog

from ingrain.v1 import common_pb2
from ingrain.v1 import datasets_pb2 as pb
from servicekit.errors import DomainError, NotFound
from servicekit.operation_protos import ENDED
from servicekit.tables import operation as operation_table
from servicekit.tables import resource
from services.augmenter.datasets import Datasets
from services.augmenter.forgetting import Forgetting
from services.augmenter.sights import text_digest
from services.augmenter.withdrawing import source_of

SWEEP_S = 60.0  # between two looks
ROWS_AT_ONCE = 1_000_000  # whose texts' digests are in memory, about 150 MB

log = structlog.get_logger()


class Sweeping:
    def __init__(self, datasets: Datasets) -> None:
        self.datasets = datasets

    async def run(self) -> None:
        """Until cancelled. Several processes may do it at once; what fails is done the next time."""
        while True:
            try:
                await self.sweep(self.datasets.settings.erase_deleted_s)
            except (DomainError, OSError) as error:
                log.warning("sweep_failed", problem=repr(error))
            await asyncio.sleep(SWEEP_S)

    async def sweep(self, older_s: float) -> list[str]:
        """Names of datasets, deleted at least so long ago, whose bytes were erased."""
        database = self.datasets.resources.database
        erased = []
        due = await database.run(lambda connection: self._due(connection, older_s))
        for together in runs(due):
            await self._forget(together)
            for dataset in together:
                await self._erase(dataset)
                erased.append(dataset.name)
        return erased

    def _due(self, connection: sa.Connection, older_s: float) -> list[pb.Dataset]:
        mine = resource.c.collection == "datasets"
        before = self.datasets.resources.database.now() - older_s
        deleted = sa.select(resource.c.body).where(mine, resource.c.deleted < before)
        due = [pb.Dataset.FromString(body) for body in connection.execute(deleted).scalars()]
        due = [dataset for dataset in due if dataset.uri]
        if not due:
            return []
        there = connection.execute(
            sa.select(resource.c.body).where(mine, resource.c.deleted.is_(None))
        ).scalars()
        sources = {pb.Dataset.FromString(body).provenance.source_dataset for body in there}
        at_work = operation_table.c.state.not_in(ENDED)
        busy = set()
        for row in connection.execute(operation_table.select().where(at_work)):
            busy |= {row.target, source_of(row.request) if row.verb == "AugmentDataset" else ""}
        return [dataset for dataset in due if dataset.name not in sources | busy]

    async def _forget(self, due: Sequence[pb.Dataset]) -> None:
        """Outputs go before bytes: after these nobody knows the texts."""
        project = project_of(due[0])
        if texts := await self._texts_of_these_alone(due, project):
            storage, database = self.datasets.storage, self.datasets.resources.database
            await Forgetting(database, storage, project).forget(texts, unknown_too=False)

    async def _erase(self, dataset: pb.Dataset) -> None:
        storage, resources = self.datasets.storage, self.datasets.resources
        for key in [found.key async for found in storage.list(f"{dataset.name}/")]:
            await storage.delete(key)
        dataset.uri = ""
        await resources.database.run(lambda connection: resources.replace_in(connection, dataset))
        log.info("dataset_erased", dataset=dataset.name)

    async def _texts_of_these_alone(self, due: Sequence[pb.Dataset], project: str) -> set[str]:
        """Digests of texts that no dataset of the project has that is there. Each of these is read once for all that are due."""
        texts = {text for dataset in due async for text in self._texts(dataset)}
        token = ""
        while texts:
            page, token = await self.datasets.resources.list(project, 1000, token)
            for other in page:
                if texts and other.state == common_pb2.ACTIVE:
                    async for text in self._texts(other):
                        texts.discard(text)
            if not token:
                break
        return texts

    async def _texts(self, dataset: pb.Dataset) -> AsyncIterator[str]:
        if dataset.kind != pb.Dataset.DOCUMENTS:
            return
        with contextlib.suppress(NotFound):  # erased by another process, or deleted just now
            async for line in self.datasets.lines(dataset):
                yield text_digest(json.loads(line)["text"])


def runs(due: Sequence[pb.Dataset]) -> Iterator[list[pb.Dataset]]:
    """Datasets of one project whose texts are held in memory together: at most `ROWS_AT_ONCE`, or one dataset with more."""
    run: list[pb.Dataset] = []
    rows = 0
    for dataset in sorted(due, key=project_of):
        if run and (project_of(run[0]) != project_of(dataset) or rows + dataset.row_count > ROWS_AT_ONCE):
            yield run
            run, rows = [], 0
        run.append(dataset)
        rows += dataset.row_count
    if run:
        yield run


def project_of(dataset: pb.Dataset) -> str:
    return dataset.name.partition("/datasets/")[0]
