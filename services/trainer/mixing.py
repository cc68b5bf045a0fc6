"""Which rows are trained on, how often, and which are held out. Pure functions of the rows and the seed."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

from servicekit.errors import Invalid
from services.trainer.packing import TokenSequence
from services.trainer.rendering import messages_of

Place = tuple[int, int]  # dataset and row, both from 0


def replayed(
    sequences: Sequence[TokenSequence], token_count: int, ratio: float, seed: int
) -> list[TokenSequence]:
    """Of `sequences` those that come nearest to being `ratio` of all tokens beside `token_count` others, at least one: whole
    passes, and for what is left a sample without replacement."""
    wanted = token_count * ratio / (1 - ratio)
    one_pass = sum(len(sequence.tokens) for sequence in sequences)
    passes = int(wanted // one_pass)
    chosen = list(sequences) * passes
    missing = wanted - passes * one_pass
    order = list(sequences)
    random.Random(seed).shuffle(order)
    for sequence in order:
        length = len(sequence.tokens)
        if chosen and length / 2 > missing:
            break
        chosen.append(sequence)
        missing -= length
    return chosen


def held_out(datasets: Iterable[Iterable[dict[str, Any]]], ratio: float, seed: int) -> set[Place]:
    """A share `ratio` of all rows, as near as groups allow: rows with the same id, the same text or a source in common stand on one
    side. Invalid where groups are so large that there is no such share."""
    groups = grouped(datasets)
    row_count = sum(map(len, groups))
    wanted = max(1, round(ratio * row_count))
    random.Random(seed).shuffle(groups)
    chosen: list[list[Place]] = []
    count = 0
    for group in groups:
        if abs(count + len(group) - wanted) < abs(count - wanted):
            chosen.append(group)
            count += len(group)
    if not chosen or len(chosen) == len(groups):
        raise Invalid(
            "NOTHING_TO_HOLD_OUT",
            f"eval_ratio {ratio:g} of {row_count} rows cannot be held out: rows with the same id, text or source stay together, and "
            f"they are {len(groups)} group(s), the smallest of {min(map(len, groups), default=0)} rows. Name evaluation.datasets "
            "instead.",
            field="training.evaluation.eval_ratio",
            row_count=row_count,
            group_count=len(groups),
        )
    return {place for group in chosen for place in group}


def grouped(datasets: Iterable[Iterable[dict[str, Any]]]) -> list[list[Place]]:
    """All rows in groups that have a key in common, directly or by others; in the rows' order."""
    parents: list[int] = []
    places: list[Place] = []
    owners: dict[str, int] = {}

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for dataset, rows in enumerate(datasets):
        for number, row in enumerate(rows):
            index = len(parents)
            parents.append(index)
            places.append((dataset, number))
            for key in keys_of(row):
                earlier, later = sorted((root(owners.setdefault(key, index)), root(index)))
                parents[later] = earlier
    groups: dict[int, list[Place]] = {}
    for index, place in enumerate(places):
        groups.setdefault(root(index), []).append(place)
    return list(groups.values())


def keys_of(row: dict[str, Any]) -> set[str]:
    """What ties a row to others: its text, its id, and the ids of what it was made from."""
    metadata, provenance = row.get("metadata") or {}, row.get("provenance") or {}
    said = [message["content"] for message in messages_of(row)] or [row.get("text")]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    named: list[Any] = [
        row.get("id"),
        metadata.get("source"),
        *listed(metadata, "sources"),
        *listed(provenance, "source_rows"),
    ]
    return {f"text {digest}"} | {f"id {name}" for name in named if name is not None}


def listed(values: Any, key: str) -> list[Any]:
    found = values.get(key) if isinstance(values, dict) else None
    return found if isinstance(found, list) else []
