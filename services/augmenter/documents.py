"""Rows of a dataset -> the documents that are augmented."""

from collections.abc import Sequence
from typing import Any

from servicekit.errors import Invalid
from services.augmenter.entities import shuffled, subjects
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document


def documents_of(rows: Sequence[dict[str, Any]], spec: Spec) -> list[Document]:
    """In order; of rows with the same value of `distinct_key` in a group only the first."""
    chosen: list[tuple[dict[str, Any], str]] = []
    seen: set[tuple[str, str]] = set()
    for index, row in enumerate(rows):
        metadata = row.get("metadata") or {}
        group = _value(metadata, spec.group_key, index)
        if spec.distinct_key and spec.distinct_key in metadata:
            fact = (group, str(metadata[spec.distinct_key]))
            if fact in seen:
                continue
            seen.add(fact)
        chosen.append((row, group))
    texts = [row["text"] for row, _ in chosen]
    groups = [group for _, group in chosen]
    found = subjects(texts, groups)
    if spec.shuffled:
        texts = shuffled(texts, groups, spec.seed)
        found = subjects(texts, groups)
    return [
        Document(row["id"], text, group, tuple(names), row.get("metadata") or {})
        for (row, group), text, names in zip(chosen, texts, found, strict=True)
    ]


def _value(metadata: dict[str, Any], key: str, index: int) -> str:
    if not key:
        return ""
    if key not in metadata:
        raise Invalid(
            "NO_GROUP",
            f"row {index + 1} has no metadata {key!r}, by which documents are grouped",
            field=f"rows[{index}].metadata.{key}",
            row=index + 1,
        )
    return str(metadata[key])
