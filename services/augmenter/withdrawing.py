"""Takes rows out of a dataset for good.

In this order, each step of which can be done twice: outputs of prompts that had them in sight are erased; the payload is
written anew without them under the attempt's own prefix; one statement under the fence puts it in the dataset's place;
then everything else that lies under the dataset's name is erased, abandoned attempts and stored originals too. After
that statement nobody is given the rows any more. Who opened the old payload before reads it to its end where storage
lets him, else his reading breaks off with an error.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ingrain.v1 import augmenter_pb2, common_pb2
from ingrain.v1 import datasets_pb2 as pb
from servicekit.errors import Invalid, Unavailable, WrongState
from servicekit.failpoints import failpoint
from servicekit.operation_protos import ENDED
from servicekit.operations import Operations
from servicekit.tables import operation as operation_table
from servicekit.worker import Deferred, Task
from services.augmenter.forgetting import Forgetting
from services.augmenter.intake import fill, kept_originals, take_in
from services.augmenter.sights import text_digest
from services.augmenter.tracing import named_by, row_not_found, whole_of

if TYPE_CHECKING:
    from services.augmenter.datasets import Datasets

VERB = "WithdrawRows"
ERASE_AGAIN_S = 10.0  # while storage is away


@dataclass
class Found:
    """Rows that are to go: their numbers, digests of their texts, and ids of documents that they are parts of."""

    numbers: set[int] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    originals: set[str] = field(default_factory=set)

    def add(self, number: int, row: dict[str, Any]) -> None:
        self.numbers.add(number)
        if isinstance(row.get("text"), str):
            self.texts.add(text_digest(row["text"]))
        if whole := whole_of(row):
            self.originals.add(whole)


class Withdrawing:
    def __init__(self, datasets: "Datasets", operations: Operations) -> None:
        self.datasets = datasets
        self.operations = operations

    async def start(self, request: pb.WithdrawRowsRequest) -> Any:
        dataset = await self.datasets.usable(request.name)
        if request.validate_only:
            return self.operations.done_with_estimate(
                request.name, VERB, await self._estimate(dataset, request)
            )
        return await self.operations.start(
            VERB,
            request,
            dataset,
            request_id=request.request_id,
            check=lambda connection: refuse_busy_in(self.datasets, connection, request.name),
        )

    async def withdraw(self, task: Task, request: pb.WithdrawRowsRequest) -> pb.Dataset:
        """The dataset without the rows. NotFound for an id that it has not, Invalid where nothing would be left."""
        dataset = await self.datasets.resources.get(task.target)
        if dataset.uri == task.notes.get("old_uri", dataset.uri):
            dataset = await self._replaced(task, dataset, request.row_ids)
            failpoint("augmenter.after_swap")
        try:
            await self._erase_others(task, dataset)
        except Unavailable as error:
            raise Deferred(ERASE_AGAIN_S) from error
        except asyncio.CancelledError:
            if task.stopping == "cancelled":  # the rows are out; what is left of them goes all the same
                await self._erase_others(task, dataset)
            raise
        return dataset

    async def _replaced(self, task: Task, dataset: pb.Dataset, row_ids: Sequence[str]) -> pb.Dataset:
        await task.progress("looking for the rows", 0, dataset.row_count, "rows")
        found = await self._look_for(dataset, row_ids)
        # Whoever is killed from here on leaves objects under prefixes that are written down.
        prefixes = [*task.notes.get("prefixes", await self._prefixes(dataset.name)), task.prefix]
        await task.note(old_uri=dataset.uri, prefixes=prefixes)
        await task.progress("erasing outputs")
        await self._forgetting(dataset).forget(found.texts)
        await task.progress("writing", 0, dataset.row_count - len(found.numbers), "rows")
        taken = await take_in(
            self.datasets.storage,
            task.prefix,
            self._without(dataset, found.numbers),
            dataset.kind,
            self.datasets.settings.most_rows,
            originals=self._originals_without(dataset, found.originals),
        )
        failpoint("augmenter.before_swap")
        dataset.withdrawn_row_count += dataset.row_count - taken.row_count
        fill(dataset, taken)
        await task.show(dataset)
        return dataset

    async def _look_for(self, dataset: pb.Dataset, row_ids: Sequence[str]) -> Found:
        """The rows that are meant. NotFound for an id that none has, Invalid where they are all that there are."""
        wanted, met = set(row_ids), set[str]()
        found, number = Found(), 0
        async for line in self.datasets.lines(dataset):
            row = json.loads(line)
            if named := named_by(wanted, row):
                met |= named
                found.add(number, row)
            number += 1
        if missing := sorted(wanted - met):
            raise row_not_found(dataset.name, missing)
        if len(found.numbers) == number:
            raise nothing_left(dataset)
        return found

    async def _without(self, dataset: pb.Dataset, gone: Collection[int]) -> AsyncIterator[bytes]:
        number = 0
        async for line in self.datasets.lines(dataset):
            if number not in gone:
                yield line.encode()
            number += 1

    async def _originals_without(self, dataset: pb.Dataset, gone: Collection[str]) -> AsyncIterator[bytes]:
        """An original goes as a whole with any of its parts."""
        async for line in kept_originals(self.datasets.storage, dataset.uri):
            if json.loads(line)["id"] not in gone:
                yield line

    async def _prefixes(self, name: str) -> list[str]:
        """Of everything that lies under the dataset's name, before anything is written."""
        keys = [found.key async for found in self.datasets.storage.list(f"{name}/")]
        return sorted({f"{name}/{key.removeprefix(f'{name}/').partition('/')[0]}" for key in keys})

    async def _erase_others(self, task: Task, dataset: pb.Dataset) -> None:
        current = self.datasets.storage.key(dataset.uri).rpartition("/")[0]
        await task.progress("erasing", 0, 0)
        for prefix in task.notes["prefixes"]:
            if prefix == current:
                continue
            for key in [found.key async for found in self.datasets.storage.list(f"{prefix}/")]:
                await self.datasets.storage.delete(key)
                failpoint("augmenter.while_erasing")

    async def _estimate(self, dataset: pb.Dataset, request: pb.WithdrawRowsRequest) -> common_pb2.Estimate:
        found = await self._look_for(dataset, request.row_ids)
        outputs = await self._forgetting(dataset).count(found.texts)
        notes = [
            f"{len(found.numbers)} of {dataset.row_count} rows would go, and {outputs} outputs that were kept",
            "rows that were derived from them are other datasets' rows; TraceRows names them",
        ]
        return common_pb2.Estimate(row_count=len(found.numbers), notes=notes)

    def _forgetting(self, dataset: pb.Dataset) -> Forgetting:
        project = dataset.name.partition("/datasets/")[0]
        return Forgetting(self.datasets.resources.database, self.datasets.storage, project)


def refuse_busy_in(datasets: "Datasets", connection: sa.Connection, name: str) -> None:
    """WrongState while the dataset is changed or derived from: what was read before would come out after."""
    datasets.resources.get_in(connection, name, lock=True)
    table = operation_table
    project = name.partition("/datasets/")[0]
    at_work = sa.and_(table.c.project == project, table.c.state.not_in(ENDED))
    for row in connection.execute(table.select().where(at_work)):
        derives = row.verb == "AugmentDataset" and source_of(row.request) == name
        if derives or row.target == name:
            raise WrongState(
                "DATASET_BUSY",
                f"{row.verb} is at work on {name} ({row.name}); wait for it, or cancel it",
                operation=row.name,
            )


def refuse_withdrawing_in(datasets: "Datasets", connection: sa.Connection, source: str) -> None:
    """WrongState where rows are just withdrawn from what would be derived from."""
    datasets.resources.get_in(connection, source, lock=True)
    table = operation_table
    mine = sa.and_(table.c.target == source, table.c.verb == VERB, table.c.state.not_in(ENDED))
    if row := connection.execute(table.select().where(mine).limit(1)).one_or_none():
        raise WrongState(
            "DATASET_BUSY", f"rows are withdrawn from {source} ({row.name}); wait for it", operation=row.name
        )


def source_of(request: bytes) -> str:
    """Which dataset an AugmentDataset reads."""
    with contextlib.suppress(ValueError):
        return augmenter_pb2.AugmentDatasetRequest.FromString(request).spec.dataset
    return ""


def nothing_left(dataset: pb.Dataset) -> Invalid:
    return Invalid(
        "NOTHING_LEFT",
        f"these are all {dataset.row_count} rows of {dataset.name}; delete the dataset instead",
        field="row_ids",
        rows=dataset.row_count,
    )
