"""A small part of a study's inputs that stands for the whole. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.studies.coverage import groups

# As much as gives a steady mean, and as little as is soon done.
MOST_GROUPS = 8
MOST_ROWS = 64  # of documents or probes that no key parts into groups

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """Documents and probes; `document_share`, `probe_share`: how much of the whole they are."""

    documents: Sequence[Row]
    probes: Sequence[Row]
    document_share: float
    probe_share: float


def sample(documents: Sequence[Row], probes: Sequence[Row], group_key: str, distinct_key: str = "") -> Sample:
    """Whole groups, evenly over all of them; without groups all documents and probes evenly over theirs."""
    asked = groups(probes, group_key)
    if not group_key:
        few = _evenly(probes, MOST_ROWS)
        return Sample(documents, few, 1.0, len(few) / len(probes))
    names = list(dict.fromkeys(groups(documents, group_key)))
    chosen = set(_evenly(names, MOST_GROUPS))
    some = [
        row for row, group in zip(documents, groups(documents, group_key), strict=True) if group in chosen
    ]
    few = [row for row, group in zip(probes, asked, strict=True) if group in chosen] or _evenly(
        probes, MOST_ROWS
    )
    share = _told(some, group_key, distinct_key) / _told(documents, group_key, distinct_key)
    return Sample(some, few, share, len(few) / len(probes))


def content_id(prefix: str, rows: Sequence[Row]) -> str:
    """The same rows always have the same id."""
    content = json.dumps(list(rows), sort_keys=True).encode()
    return f"{prefix}-{hashlib.sha256(content).hexdigest()[:16]}"


def _told(rows: Sequence[Row], group_key: str, distinct_key: str) -> int:
    """Documents that are read: of those that share the key one."""
    if not distinct_key:
        return len(rows)
    of = groups(rows, group_key)
    return len(
        {
            (group, str((row.get("metadata") or {}).get(distinct_key, f"row {i}")))
            for i, (row, group) in enumerate(zip(rows, of, strict=True))
        }
    )


def _evenly(items: Sequence[Any], most: int) -> list[Any]:
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]
