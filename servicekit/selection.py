"""Rows of a dataset that are used, chosen by their metadata: the same everywhere for the same RowSelection."""

import math
import random
from collections.abc import Iterable
from typing import Any

from ingrain.v1 import common_pb2

Row = dict[str, Any]


def select_rows(rows: Iterable[Row], selection: common_pb2.RowSelection) -> list[Row]:
    """By key, then the first of each distinct value, then a random part of these; in the rows' order."""
    chosen: list[Row] = []
    seen: set[str] = set()
    for row in rows:
        metadata = row.get("metadata") or {}
        if selection.key and str(metadata.get(selection.key)) != selection.value:
            continue
        if selection.distinct_key and selection.distinct_key in metadata:
            value = str(metadata[selection.distinct_key])
            if value in seen:
                continue
            seen.add(value)
        chosen.append(row)
    if not selection.HasField("subset"):
        return chosen
    # A tenth of 30 is 3 and not the 3.0000000000000004 that floats make of it.
    count = math.ceil(round(selection.subset.share * len(chosen), 9))
    kept = random.Random(selection.subset.seed).sample(range(len(chosen)), count)
    return [chosen[index] for index in sorted(kept)]
