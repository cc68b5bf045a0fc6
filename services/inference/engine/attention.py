"""Attention of many sequences in one row of tokens, each over what it shares, its own past and its own new tokens.

The parts are attended to one by one and joined by their log-sum-exp, which is exact (Hydragen, arXiv 2402.05099): so the keys and
values of a shared prefix are read once for all sequences, never copied and never computed again, and nothing is computed between
tokens of different sequences.

Axes: N tokens of the row, Q heads of queries, H heads of keys, D size of a head, S tokens of a part.
"""

import threading
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import AttentionInterface

from services.inference.engine.shelves import Shelf, Tail

NAME = "ingrain_parts"
# What some architectures change in attention, and parts cannot do: such models are computed in their own way.
CHANGED = ("softcap", "s_aux", "sliding_window", "position_bias", "head_mask")

Part = tuple[torch.Tensor, torch.Tensor]  # (Q, N, D) and its log-sum-exp (Q, N)


@dataclass(frozen=True)
class Layers:
    """Keys and values (H, S, D) of a prefix, by layer."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]


@dataclass(frozen=True)
class Chunk:
    """Rows `begin` to `end` are new tokens of one sequence, behind `past` of its own ones.

    `mask` (N, N), added to scores, says which of them see each other; None: each those before it. `kept`: they are written
    behind the past.
    """

    begin: int
    end: int
    tail: Tail | None = None
    past: int = 0
    kept: bool = False
    mask: torch.Tensor | None = None


@dataclass(frozen=True)
class Next:
    """One token for each of some places of a shelf, in their order: `rows` of the pass, `lengths` before it."""

    shelf: Shelf
    rows: torch.Tensor
    places: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class Shared:
    """Rows `begin` to `end` see the first `length` tokens of a prefix."""

    begin: int
    end: int
    prefix: Layers
    length: int


@dataclass
class Pass:
    """What attention needs to know of one forward pass; each row is in exactly one chunk or next."""

    chunks: list[Chunk] = field(default_factory=list)
    nexts: list[Next] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    masks: dict[int, torch.Tensor] = field(default_factory=dict)  # of nexts, made at the first layer

    def attend(
        self,
        layer: int,
        queries_QND: torch.Tensor,
        keys_HND: torch.Tensor,
        values_HND: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        heads, count, _ = queries_QND.shape
        out_QND = values_HND.new_empty(heads, count, values_HND.shape[-1])
        weight_QN = torch.empty(heads, count, dtype=torch.float32, device=out_QND.device)
        for chunk in self.chunks:
            rows = slice(chunk.begin, chunk.end)
            part = self._chunk(
                layer, chunk, queries_QND[:, rows], keys_HND[:, rows], values_HND[:, rows], scale
            )
            out_QND[:, rows], weight_QN[:, rows] = part
        for index, following in enumerate(self.nexts):
            rows = following.rows
            part = self._next(
                layer, index, queries_QND[:, rows], keys_HND[:, rows], values_HND[:, rows], scale
            )
            out_QND[:, rows], weight_QN[:, rows] = part
        for shared in self.shared:
            rows = slice(shared.begin, shared.end)
            keys, values = shared.prefix.keys[layer], shared.prefix.values[layer]
            over = whole(queries_QND[:, rows], keys[:, : shared.length], values[:, : shared.length], scale)
            out_QND[:, rows], weight_QN[:, rows] = join((out_QND[:, rows], weight_QN[:, rows]), over)
        return out_QND

    def _chunk(
        self,
        layer: int,
        chunk: Chunk,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
    ) -> Part:
        if chunk.mask is None:
            part = causal(queries, keys, values, scale)
        else:
            part = masked(queries[None], keys[None], values[None], chunk.mask[None, None], scale)
        if chunk.tail is None or chunk.tail.shelf is None:
            return part
        shelf, place = chunk.tail.shelf, chunk.tail.place
        if chunk.past:
            before_K = shelf.keys_PHSD[layer][place, :, : chunk.past]
            before_V = shelf.values_PHSD[layer][place, :, : chunk.past]
            part = join(part, whole(queries, before_K, before_V, scale))
        if chunk.kept:
            shelf.write(layer, place, chunk.past, keys, values)
        return part

    def _next(
        self,
        layer: int,
        index: int,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
    ) -> Part:
        following = self.nexts[index]
        shelf, places = following.shelf, following.places
        keys_PHSD, values_PHSD = shelf.append(layer, places, following.lengths, keys, values)
        if index not in self.masks:
            longest = int(following.lengths.max()) + 1
            seen = torch.arange(longest, device=keys.device)[None] <= following.lengths[:, None]
            self.masks[index] = torch.zeros(seen.shape, dtype=queries.dtype, device=keys.device).masked_fill_(
                ~seen, torch.finfo(queries.dtype).min
            )[:, None, None]
        mask_P11S = self.masks[index]
        longest = mask_P11S.shape[-1]
        if len(places) != len(keys_PHSD):
            keys_PHSD, values_PHSD = keys_PHSD[places], values_PHSD[places]
        out, weight = masked(
            queries.transpose(0, 1)[:, :, None],
            keys_PHSD[:, :, :longest],
            values_PHSD[:, :, :longest],
            mask_P11S,
            scale,
            apart=True,
        )
        return out, weight


def whole(queries_QND: torch.Tensor, keys_HSD: torch.Tensor, values_HSD: torch.Tensor, scale: float) -> Part:
    """Every query over every key: the heads that share a key head are read as more queries of it."""
    heads, count, size = queries_QND.shape
    folded = queries_QND.reshape(1, keys_HSD.shape[0], -1, size)
    out, weight = flash(folded, keys_HSD[None], values_HSD[None], scale, causal=False)
    return out.reshape(heads, count, -1), weight.reshape(heads, count)


def causal(queries_QND: torch.Tensor, keys_HND: torch.Tensor, values_HND: torch.Tensor, scale: float) -> Part:
    """New tokens over themselves and those before them."""
    groups = queries_QND.shape[0] // keys_HND.shape[0]
    if queries_QND.shape[1] == 1:
        scores_QN = (queries_QND * keys_HND.repeat_interleave(groups, 0)).sum(-1).float() * scale
        return values_HND.repeat_interleave(groups, 0), scores_QN
    keys, values = keys_HND.repeat_interleave(groups, 0), values_HND.repeat_interleave(groups, 0)
    out, weight = flash(queries_QND[None], keys[None], values[None], scale, causal=True)
    return out[0], weight[0]


def masked(
    queries_PQND: torch.Tensor,
    keys_PHSD: torch.Tensor,
    values_PHSD: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    apart: bool = False,
) -> Part:
    """Queries of several places over the keys of theirs, with a mask that is added to the scores.

    `mask` has the axes P, 1, N, S or such that stretch to them. `apart`: N is 1, and places come back as N; else there is one place.
    """
    places, heads, count, size = queries_PQND.shape
    groups = heads // keys_PHSD.shape[1]
    if groups > 1:
        # Heads of one key head become queries of it; the mask is the same for each.
        queries = queries_PQND.reshape(places, keys_PHSD.shape[1], groups * count, size)
        mask = mask if count == 1 else mask.repeat(1, 1, groups, 1)
    else:
        queries = queries_PQND
    if queries.device.type == "cpu":
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys_PHSD, values_PHSD, 0.0, False, attn_mask=mask, scale=scale
        )
    else:
        scores = (queries @ keys_PHSD.transpose(-1, -2)).float() * scale + mask
        weight = scores.logsumexp(-1)
        out = (scores - weight[..., None]).exp().to(values_PHSD.dtype) @ values_PHSD
    out, weight = out.reshape(places, heads, count, -1), weight.reshape(places, heads, count)
    if apart:
        return out[:, :, 0].transpose(0, 1), weight[:, :, 0].transpose(0, 1)
    return out[0], weight[0]


def flash(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, *, causal: bool
) -> Part:
    """torch's fused attention with its log-sum-exp, (1, heads, N, D) and (1, heads, N)."""
    ops = torch.ops.aten
    if queries.device.type == "cpu":
        out, weight = ops._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, 0.0, causal, attn_mask=None, scale=scale
        )
    elif queries.dtype == torch.float32:
        out, weight, *_ = ops._scaled_dot_product_efficient_attention(
            queries, keys, values, None, True, 0.0, causal, scale=scale
        )
        weight = weight[..., : queries.shape[2]]
    else:
        out, weight, *_ = ops._scaled_dot_product_flash_attention(
            queries, keys, values, 0.0, causal, False, scale=scale
        )
    return out, weight


def join(one: Part, other: Part) -> Part:
    """Attention over two parts' tokens together."""
    both_QN = torch.logaddexp(one[1], other[1])
    first, second = (one[1] - both_QN).exp()[..., None], (other[1] - both_QN).exp()[..., None]
    return (one[0] * first + other[0] * second).to(one[0].dtype), both_QN


_now = threading.local()


class attending:
    """Attention inside is that of `of_pass`."""

    def __init__(self, of_pass: Pass) -> None:
        self._pass = of_pass

    def __enter__(self) -> None:
        _now.attending = self._pass

    def __exit__(self, *_: object) -> None:
        _now.attending = None


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    for name in CHANGED:
        if other.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    now = cast("Pass", _now.attending)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out_QND = now.attend(module.layer_idx, query[0], key[0], value[0], scale)
    return out_QND.transpose(0, 1)[None], None


AttentionInterface.register(NAME, _attention)
