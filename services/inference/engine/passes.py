"""One forward pass over new tokens of many sequences, as one row.

Axes: N tokens of the row, W wanted ones of an entry, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from services.inference.engine.adapters import Adapter, Rows, adapting
from services.inference.engine.attention import Chunk, Layers, Next, Pass, Shared, attending
from services.inference.engine.shelves import Shelf, Shelves, Tail


@dataclass(frozen=True)
class Feed:
    """New tokens of a sequence, in order.

    `positions`: where each stands in its text. `wanted`: indices of the tokens whose logits are needed. `kept`: later tokens of the
    sequence look at these. `parents`: for each token the index of the one before it in its text (-1: it stands behind the sequence's
    past); None: each follows the one before it here.
    """

    tokens: list[int]
    positions: list[int]
    wanted: list[int]
    kept: bool
    parents: list[int] | None = None


@dataclass(frozen=True)
class Entry:
    """A sequence's part in a pass: the first `shared` tokens of a prefix, its own past, and what it feeds.

    `room`: tokens that its tail will hold as far as is known, and whether exactly so many.
    """

    feed: Feed
    tail: Tail
    prefix: Layers | None = None
    shared: int = 0
    adapter: Adapter | None = None
    room: tuple[int, bool] = (0, False)


@torch.inference_mode()
def forward(model: PreTrainedModel, shelves: Shelves, entries: list[Entry]) -> list[torch.Tensor]:
    """Logits (W, V) for each entry, in their order. What is kept lies in the tails afterwards."""
    order = sorted(range(len(entries)), key=lambda i: (id(entries[i].adapter), id(entries[i].prefix), i))
    ordered = [entries[i] for i in order]
    for entry in ordered:
        if entry.feed.kept:
            needed = entry.tail.length + len(entry.feed.tokens)
            most, exactly = entry.room
            shelves.room_for(entry.tail, max(needed, most) if exactly else needed, exactly)
    device = model.device
    begins = np.cumsum([0] + [len(entry.feed.tokens) for entry in ordered]).tolist()
    wanted = [begin + i for entry, begin in zip(ordered, begins, strict=False) for i in entry.feed.wanted]
    tokens = [token for entry in ordered for token in entry.feed.tokens]
    positions = [position for entry in ordered for position in entry.feed.positions]
    with attending(_pass_of(ordered, begins, model)), adapting(_adapter_rows(ordered, begins)):
        output: Any = model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            # One row is computed where nothing is wanted: an empty selection is not everywhere allowed.
            logits_to_keep=torch.tensor(wanted or [0], device=device),
        )
    for entry in ordered:
        if entry.feed.kept:
            entry.tail.length += len(entry.feed.tokens)
    logits_WV = output.logits[0, : len(wanted)].float()
    parts = logits_WV.split([len(entry.feed.wanted) for entry in ordered])
    by_entry = dict(zip(order, parts, strict=True))
    return [by_entry[i] for i in range(len(entries))]


def _pass_of(entries: list[Entry], begins: list[int], model: PreTrainedModel) -> Pass:
    made = Pass()
    nexts: dict[Shelf, list[tuple[int, Tail]]] = {}
    for entry, begin in zip(entries, begins, strict=False):
        feed, tail = entry.feed, entry.tail
        if len(feed.tokens) == 1 and feed.kept and tail.length and tail.shelf is not None:
            nexts.setdefault(tail.shelf, []).append((begin, tail))
            continue
        mask = tree_mask(feed.parents, model) if feed.parents else None
        kept_or_past = tail if feed.kept or tail.length else None
        made.chunks.append(Chunk(begin, begin + len(feed.tokens), kept_or_past, tail.length, feed.kept, mask))
    for shelf, rows in nexts.items():
        rows.sort(key=lambda row: row[1].place)
        columns = [
            [row for row, _ in rows],
            [tail.place for _, tail in rows],
            [tail.length for _, tail in rows],
        ]
        made.nexts.append(Next(shelf, *(torch.tensor(column, device=model.device) for column in columns)))
    for (prefix, length), (begin, end) in _runs(entries, begins, lambda entry: (entry.prefix, entry.shared)):
        if prefix is not None and length:
            made.shared.append(Shared(begin, end, prefix, length))
    return made


def _adapter_rows(entries: list[Entry], begins: list[int]) -> Rows:
    runs = _runs(entries, begins, lambda entry: (entry.adapter, 0))
    return [(begin, end, adapter) for (adapter, _), (begin, end) in runs if adapter is not None]


def _runs(
    entries: list[Entry], begins: list[int], key: Any
) -> Iterator[tuple[tuple[Any, int], tuple[int, int]]]:
    """Neighbours of one key, and the rows that are theirs."""

    def identity(index: int) -> tuple[int, int]:
        what, number = key(entries[index])
        return id(what), number

    for _, indices in groupby(range(len(entries)), identity):
        run = list(indices)
        yield key(entries[run[0]]), (begins[run[0]], begins[run[-1] + 1])


def tree_mask(parents: list[int], model: PreTrainedModel) -> torch.Tensor:
    """(N, N): 0 where a token may look (at itself and those that it descends from), the least number elsewhere."""
    sees = np.zeros((len(parents), len(parents)), dtype=bool)
    for index, parent in enumerate(parents):
        if parent >= 0:
            sees[index] = sees[parent]
        sees[index, index] = True
    mask = torch.zeros(sees.shape, dtype=model.dtype)
    return mask.masked_fill_(torch.from_numpy(~sees), torch.finfo(model.dtype).min).to(model.device)
