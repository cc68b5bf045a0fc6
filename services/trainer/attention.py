"""Attention of packed texts, each within itself: no mask over all of a row, no work between strangers.

(Legend: T tokens of all texts, one after the other; H heads of the queries, K of keys and values, G = H / K; D numbers of a head;
n tokens of one text.) transformers calls `attend` for every layer of a model that was loaded with `NAME`. Where the texts lie
travels as the attention mask, a tensor [1, 1, 1, texts + 1] of int32 with their borders, which models hand through untouched. With any
other mask it is transformers' own `sdpa`. On a processor the texts are taken one at a time, on a GPU by torch's kernel for
texts of any length. Needs torch and transformers.
"""

import functools
import inspect
import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from services.trainer.tokens import NAME

# Up to so many tokens a text's scores are kept for the backward pass: faster than reckoning them twice, but quadratic.
MOST_KEPT = {torch.bfloat16: 1024, torch.float16: 1024, torch.float32: 256}
# A processor compiles a kernel for each length in bfloat16 (kernels.py). Up to so many tokens float32, which needs none, is about as
# fast; longer texts are filled up to a multiple of STRIDE.
MOST_EXACT = 64
STRIDE = 32


def register() -> None:
    """Makes `NAME` an attn_implementation of transformers."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: [1, H, T, D] and twice [1, K, T, D] -> [1, T, H, D]."""
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
        )
    if rest.get("s_aux") is not None or rest.get("position_bias") is not None:
        raise NotImplementedError("attention with sinks or position biases")
    # Rotary embeddings leave queries and keys in float32 under autocast.
    query, key = query.to(value.dtype), key.to(value.dtype)
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    window, softcap = rest.get("sliding_window"), rest.get("softcap")
    borders = attention_mask.flatten()
    if softcap is None and not dropout and fits_kernel(query, window):
        longest = rest.get("max_length_q") or int((borders[1:] - borders[:-1]).max())
        return in_one(query, key, value, borders, longest, scale, window)[None], None
    lengths = (borders[1:] - borders[:-1]).tolist()
    if softcap is None and not dropout:
        most = MOST_KEPT.get(query.dtype, 0)
        if max(lengths) <= most:
            return Texts.apply(query, key, value, lengths, scale, window).transpose(1, 2), None
    out = [
        one_text(q, k, v, scale, window, softcap, dropout)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    return torch.cat(out, 2).transpose(1, 2), None


def one_text(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
    dropout: float,
) -> torch.Tensor:
    """[1, H, n, D] and twice [1, K, n, D] -> [1, H, n, D]."""
    length, groups = query.shape[2], query.shape[1] // key.shape[1]
    if softcap is None:
        mask = None if window is None or length <= window else seen(length, window, query.device)
        return F.scaled_dot_product_attention(
            query, key, value, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=groups > 1
        )
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scale
    scores = (softcap * torch.tanh(scores.float() / softcap)).masked_fill(
        ~seen(length, window, query.device), -torch.inf
    )
    shares = F.dropout(torch.softmax(scores, -1), dropout).to(value.dtype)
    return shares @ value.repeat_interleave(groups, 1)


def seen(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """[n, n]: whether a token (row) sees another (column)."""
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return causal if window is None else causal.triu(1 - window)


@functools.lru_cache(maxsize=128)
def added(
    length: int, groups: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """[G n, n]: 0 where a token sees another, else minus infinity."""
    mask = torch.zeros(length, length, dtype=dtype, device=device)
    return mask.masked_fill_(~seen(length, window, device), -torch.inf).repeat(groups, 1)


class Texts(torch.autograd.Function):
    """Plain attention, text after text, with the backward pass written out: on a processor less than half the time of torch's
    kernel, whose backward pass in bfloat16 is slow. Keys and values of grouped queries are not repeated."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: list[int],
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        heads = key.shape[1]
        groups = query.shape[1] // heads
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        shares = []
        with torch.autocast(query.device.type, enabled=False):
            for start, end in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
                q, k, v = (one_of(t, heads, start, end) for t in (query, key, value))
                mask = added(k.shape[1], groups, window, q.dtype, q.device).expand(heads, -1, -1)
                share = torch.softmax(torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale), -1)
                put(out, torch.bmm(share, v), start, end)
                shares.append(share)
        ctx.save_for_backward(query, key, value, *shares)
        ctx.lengths, ctx.scale = lengths, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        query, key, value, *shares = ctx.saved_tensors
        heads = key.shape[1]
        d_query, d_key, d_value = (torch.empty_like(t) for t in (query, key, value))
        grad = grad.to(query.dtype)
        borders = itertools.pairwise(itertools.accumulate(ctx.lengths, initial=0))
        with torch.autocast(query.device.type, enabled=False):
            for share, (start, end) in zip(shares, borders, strict=True):
                q, k, v, g = (one_of(t, heads, start, end) for t in (query, key, value, grad))
                put(d_value, torch.bmm(share.transpose(1, 2), g), start, end)
                d_share = torch.bmm(g, v.transpose(1, 2))
                d_score = torch._softmax_backward_data(d_share, share, -1, share.dtype)
                put(d_query, torch.bmm(d_score, k).mul_(ctx.scale), start, end)
                put(d_key, torch.bmm(d_score.transpose(1, 2), q).mul_(ctx.scale), start, end)
        return d_query, d_key, d_value, None, None, None


def one_of(heads_first: torch.Tensor, heads: int, start: int, end: int) -> torch.Tensor:
    """Of [1, H, T, D] one text as [K, G n, D], the queries that share keys one after the other; on a processor in float32, or with
    zeros behind it: no token looks ahead at them."""
    text = heads_first[0, :, start:end]
    if text.dtype == torch.bfloat16 and text.device.type == "cpu":
        text = text.float() if end - start <= MOST_EXACT else F.pad(text, (0, 0, 0, (start - end) % STRIDE))
    return text.reshape(heads, -1, text.shape[2])


def put(heads_first: torch.Tensor, text: torch.Tensor, start: int, end: int) -> None:
    """What `one_of` would take, without what it filled up."""
    heads, dims = heads_first.shape[1], heads_first.shape[3]
    heads_first[0, :, start:end] = text.view(heads, -1, dims)[:, : end - start]


@functools.lru_cache(maxsize=1)
def kernel() -> tuple[Any, frozenset[str]] | None:
    """torch's attention over texts of any length and the names of its parameters; None where this torch has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)


def fits_kernel(query: torch.Tensor, window: int | None) -> bool:
    if not query.is_cuda or query.dtype == torch.float32 or query.shape[3] > 256:
        return False
    found = kernel()
    return found is not None and (window is None or "window_size" in found[1])


def in_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor,
    longest: int,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """[T, H, D] by torch's kernel for CUDA. Its parameters differ between versions of torch."""
    found = kernel()
    assert found is not None
    function, names = found
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    given: dict[str, Any] = {}
    if q.shape[1] != k.shape[1] and "enable_gqa" not in names:
        k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    elif q.shape[1] != k.shape[1]:
        given["enable_gqa"] = True
    if "scale" in names:
        given["scale"] = scale
    else:
        q = q * (scale * math.sqrt(q.shape[-1]))
    given |= (
        {"window_size": (window - 1 if window else -1, 0)} if "window_size" in names else {"is_causal": True}
    )
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    return function(q, k, v, borders, borders, longest, longest, **given)
