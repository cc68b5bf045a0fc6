"""Rows -> the rows that were derived from them, dataset by dataset, at any remove.

Each dataset is read once, from the first to those that are furthest away. What is held in memory are the ids of rows
that were found and what their metadata says, never a dataset.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ingrain.v1 import common_pb2
from ingrain.v1 import datasets_pb2 as pb
from servicekit.errors import NotFound
from servicekit.tables import resource

if TYPE_CHECKING:
    from services.augmenter.datasets import Datasets

MOST_IDS, IDS_BYTES = 10_000, 500_000  # of a message
PROBES_OF = "source_dataset"  # the label by which written probes say what they are about
Row = dict[str, Any]


@dataclass
class Reached:
    """Rows of one dataset that were found, and what says of another row that it came from them.

    `originals`: ids that stand for the parts of split documents too. `every`: all rows, or nobody can say which.
    `some_gone`: of some of them no row is there any more, so that nobody can say to which group they belonged.
    """

    every: bool = False
    some_gone: bool = False
    originals: Collection[str] = ()
    ids: set[str] = field(default_factory=set)
    groups: set[tuple[str, str]] = field(default_factory=set)

    def add(self, row: Row) -> None:
        if isinstance(row.get("id"), str):
            self.ids.add(row["id"])
        for key, value in (row.get("metadata") or {}).items():
            if isinstance(value, str | int | float | bool):
                self.groups.add((key, str(value)))

    def led_to(self, row: Row, or_else: bool) -> bool:
        """Whether a derived row came from one of these. `or_else`: what to say of a row that does not tell."""
        if self.every:
            return True
        if not self.ids and not self.originals:
            return False
        origin, metadata = row.get("provenance") or {}, row.get("metadata") or {}
        named = origin.get("source_rows", metadata.get("sources"))
        if not isinstance(named, list):
            return or_else
        return any(map(self._has, [*named, *origin.get("read_rows", ())])) or self._in_sight(origin, metadata)

    def _in_sight(self, origin: Row, metadata: Row) -> bool:
        """Whether the model had the group of one of these before it: what it wrote may be out of any of the documents."""
        group = "" if origin.get("shuffled") else origin.get("context_group")
        if group is None:
            return False
        keys = [key for key in metadata if key != "strategy" and (not group or metadata[key] == group)]
        return not keys or self.some_gone or any((key, str(metadata[key])) in self.groups for key in keys)

    def _has(self, id: object) -> bool:
        return isinstance(id, str) and (id in self.ids or stands_for(self.originals, id))


async def trace(
    datasets: "Datasets", name: str, row_ids: Collection[str]
) -> AsyncIterator[pb.TraceRowsResponse]:
    """First the rows themselves, as far as they are there, then what was derived. NotFound for an id that never was."""
    first = await datasets.usable(name)
    derived = await _derived(datasets, name.rpartition("/datasets/")[0])
    originals, met = set(row_ids), set[str]()
    reached = Reached(every=not row_ids, originals=originals)

    def asked_for(row: Row) -> bool:
        met.update(named := named_by(originals, row))
        return bool(named) or not originals

    async for message in _found(datasets, first, asked_for, reached, 0):
        yield message
    if missing := sorted(originals - met):
        if not first.withdrawn_row_count:
            raise row_not_found(name, missing)
        reached.some_gone = True
    queue, seen = deque([(name, reached, 1)]), {name}
    while queue:
        source, reached, depth = queue.popleft()
        for dataset, hidden in derived.get(source, ()):
            if dataset.name in seen:
                continue
            seen.add(dataset.name)
            found = Reached(every=reached.every)
            told = dataset.HasField("provenance")  # probes that do not tell were written by a person
            of_these = lambda row, reached=reached, told=told: reached.led_to(row, told)  # noqa: E731
            async for message in _found(datasets, dataset, of_these, found, depth):
                if not hidden:
                    yield message
            queue.append((dataset.name, found, depth + 1))


async def _found(
    datasets: "Datasets", dataset: pb.Dataset, chosen: Callable[[Row], bool], reached: Reached, depth: int
) -> AsyncIterator[pb.TraceRowsResponse]:
    """The chosen rows' ids, which `reached` remembers. Of a deleted dataset whose bytes are gone: it reached all."""
    batch, size = pb.TraceRowsResponse(dataset=dataset.name, depth=depth), 0
    try:
        async for line in datasets.lines(dataset):
            row = json.loads(line)
            if not chosen(row):
                continue
            if not reached.every:
                reached.add(row)
            if not isinstance(row.get("id"), str):
                continue
            batch.row_ids.append(row["id"])
            size += len(row["id"].encode())
            if len(batch.row_ids) >= MOST_IDS or size > IDS_BYTES:
                yield batch
                batch, size = pb.TraceRowsResponse(dataset=dataset.name, depth=depth), 0
    except NotFound:
        if not depth:
            raise
        reached.every = True
    if batch.row_ids:
        yield batch


async def _derived(datasets: "Datasets", parent: str) -> dict[str, list[tuple[pb.Dataset, bool]]]:
    """Derived datasets by what they were derived from, and whether they are deleted: others may have come of these."""
    query = (
        sa.select(resource.c.body, resource.c.deleted)
        .where(resource.c.parent == parent, resource.c.collection == "datasets")
        .order_by(resource.c.sequence)
    )
    rows = await datasets.resources.database.run(lambda connection: connection.execute(query).all())
    found: dict[str, list[tuple[pb.Dataset, bool]]] = {}
    for row in rows:
        dataset = pb.Dataset.FromString(row.body)
        source = dataset.provenance.source_dataset or dataset.labels.get(PROBES_OF, "")
        if source and dataset.state == common_pb2.ACTIVE:
            found.setdefault(source, []).append((dataset, row.deleted is not None))
    return found


def named_by(ids: Collection[str], row: Row) -> set[str]:
    """Which of the ids mean this row: its own, or that of the document that it is a part of."""
    own = row.get("id")
    if not isinstance(own, str):
        return set()
    return {id for id in (own, original_of(own), whole_of(row)) if id and id in ids}


def whole_of(row: Row) -> str | None:
    """Of a part of a split document the id of the whole, as it says it."""
    metadata = row.get("metadata") or {}
    whole = metadata.get("source") if {"start", "end"} <= metadata.keys() else None
    return whole if isinstance(whole, str) else None


def original_of(id: str) -> str | None:
    """`report.pdf` of its part `report.pdf#3`."""
    whole, mark, number = id.rpartition("#")
    return whole if mark and number.isdigit() else None


def stands_for(ids: Collection[str], id: str) -> bool:
    return id in ids or original_of(id) in ids


def row_not_found(name: str, missing: Iterable[str]) -> NotFound:
    named = list(missing)
    some = ", ".join(repr(id) for id in named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return NotFound("ROW_NOT_FOUND", f"{name} has no row {some}", resource=name, rows=len(named))
