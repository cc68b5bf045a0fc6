"""What a subject has in its context, group by group, known without making the context."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, evaluator_pb2, inference_pb2
from servicekit.selection import select_rows


@dataclass(frozen=True)
class Group:
    """`sha256`: of the texts in the order in which they are read. `read`: marks of the documents that are read."""

    sha256: str
    read: frozenset[str]


@dataclass(frozen=True)
class Documents:
    """`groups` by the value of the group key; `marks`: a document's id -> what it tells, its wording aside."""

    groups: Mapping[str, Group]
    marks: Mapping[str, str]

    def support(self, group: str, sources: Iterable[str]) -> bool:
        """Whether all these documents, or the same in another wording, are in the group's context."""
        read = self.groups[group].read if group in self.groups else frozenset()
        return all(self.marks.get(source) in read for source in sources)


def selection_of(wanted: evaluator_pb2.SubjectContext, group: str) -> common_pb2.RowSelection:
    selection = common_pb2.RowSelection(distinct_key=wanted.distinct_key)
    if wanted.group_key:
        selection.key, selection.value = wanted.group_key, group
    if wanted.HasField("subset"):
        selection.subset.CopyFrom(wanted.subset)
    return selection


def context_of(subject: evaluator_pb2.Subject, group: str) -> inference_pb2.Context:
    """The context that the group's probes are asked with, as inference is asked for it."""
    wanted = subject.context
    context = inference_pb2.Context(
        model=subject.model, dataset=wanted.dataset, selection=selection_of(wanted, group)
    )
    if wanted.HasField("retrieval"):
        context.retrieval.CopyFrom(wanted.retrieval)
    return context


async def read_documents(client: AsyncClient, wanted: evaluator_pb2.SubjectContext) -> Documents:
    """Streams the dataset once; of each row only a digest stays in memory."""
    rows: dict[str, list[dict[str, Any]]] = {}
    async for row in client.datasets.rows(wanted.dataset):
        metadata = row.get("metadata") or {}
        kept = {key: metadata[key] for key in (wanted.group_key, wanted.distinct_key) if key in metadata}
        group = str(kept.get(wanted.group_key)) if wanted.group_key else ""
        digest = hashlib.sha256(row["text"].encode()).hexdigest()
        rows.setdefault(group, []).append({"id": row.get("id", ""), "text": digest, "metadata": kept})
    groups = {group: _group(wanted, group, members) for group, members in rows.items()}
    marks = {row["id"]: _mark(wanted, row) for members in rows.values() for row in members}
    return Documents(groups, marks)


def _group(wanted: evaluator_pb2.SubjectContext, group: str, rows: list[dict[str, Any]]) -> Group:
    chosen = list(select_rows(rows, selection_of(wanted, group)))
    texts = "".join(_digests(chosen))
    return Group(hashlib.sha256(texts.encode()).hexdigest(), frozenset(_mark(wanted, row) for row in chosen))


def _digests(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (row["text"] for row in rows)


def _mark(wanted: evaluator_pb2.SubjectContext, row: dict[str, Any]) -> str:
    """Of rows that share the distinct key only the first is read, and stands for all of them."""
    metadata = row["metadata"]
    if wanted.distinct_key and wanted.distinct_key in metadata:
        return f"{metadata.get(wanted.group_key, '')} {metadata[wanted.distinct_key]}"
    return f"id {row['id']}"
