"""The bundled model: a stock Llama, and a start that lets it find earlier names soon.

Reading in context needs two things in turn: tokens that know what stood before them, and
attention from a name to its earlier occurrence. A random start of this size takes millions of
tokens to find them. So three heads of the first layer begin as heads that look one, two and three
tokens back (their query and key biases alone, turned by the rotary angles, peak there), and three
heads of the second begin by matching what the first ones carry (induction heads). All of
it is trained on like any other weight, and the architecture stays stock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

HEAD = 32
# So large that most angles hardly turn over a whole context: those match names.
ROPE_THETA = 1_000_000.0
WINDOW = 4096
# How many tokens the first heads of the first layer look back at the start.
LOOK_BACK = (1, 2, 3)
LOOK_BACK_AMPLITUDE = 6.0
# Angles from this one on turn by at most a hundredth a token: they match names.
FIRST_SLOW = 5
# Sizes that make what the first heads carry as large as a token's own embedding, and a match
# outweigh some hundred other tokens.
CARRIED = 0.3
OWN = 3.0
MATCH = 1.5


@dataclass(frozen=True)
class Shape:
    """Size of the model. `heads` follow from `width`, 32 numbers each."""

    width: int = 128
    layers: int = 6
    inner: int = 384
    reading_start: bool = True


def build(shape: Shape, vocabulary: int, seed: int) -> LlamaForCausalLM:
    """A fresh model with its start set as described above."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.width // HEAD,
        num_key_value_heads=shape.width // HEAD,
        max_position_embeddings=WINDOW,
        rope_theta=ROPE_THETA,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        attention_bias=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        _start(model, shape)
    return model


def _start(model: LlamaForCausalLM, shape: Shape) -> None:
    fan = 1 / math.sqrt(shape.width)
    model.model.embed_tokens.weight.normal_(0, fan)
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        inward = (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj)
        for projection in inward:
            projection.weight.normal_(0, fan)
        for projection in (attention.o_proj, mlp.down_proj):
            scale = 1 / math.sqrt(projection.in_features * 2 * shape.layers)
            projection.weight.normal_(0, scale)
    if shape.reading_start:
        _reading_start(model, shape.width)


def _reading_start(model: LlamaForCausalLM, width: int) -> None:
    """Set the heads of the first two layers as the module's text says."""
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    # One reading of tokens, and a place of its own for what each head carries: none disturbs another.
    reader, *writers = _orthonormal(width, width).split(HEAD)
    for head, distance in enumerate(LOOK_BACK):
        _look_back(first, head, distance)
        first.v_proj.weight[_rows(head)] = reader
        first.o_proj.weight[:, _rows(head)] = CARRIED * writers[head].T
    # Head 0: my token is the one before yours. Head 1: the name before me is the one before you.
    # Head 2: the name before me stands one further before you, so you come next.
    one, two, three = writers[:3]
    _match(second, 0, [(OWN * reader, one)])
    _match(second, 1, [(one, one), (two, two)])
    _match(second, 2, [(one, two), (two, three)])
    for head in range(3):
        copied = _orthonormal(HEAD, width)
        second.v_proj.weight[_rows(head)] = copied
        second.o_proj.weight[:, _rows(head)] = CARRIED * copied.T


def _rows(head: int) -> slice:
    return slice(head * HEAD, (head + 1) * HEAD)


def _orthonormal(rows: int, columns: int) -> Tensor:
    return torch.linalg.qr(torch.randn(columns, rows))[0].T.contiguous()


def _look_back(attention: nn.Module, head: int, distance: int) -> None:
    """Make one head attend to the token `distance` places before, whatever the tokens are."""
    rows, half = _rows(head), HEAD // 2
    angles = distance / ROPE_THETA ** (torch.arange(half) / half)
    # The slow half of the angles tells near tokens apart too little to matter.
    size = LOOK_BACK_AMPLITUDE * (torch.arange(half) < half // 2)
    attention.q_proj.weight[rows] *= 0.1
    attention.k_proj.weight[rows] *= 0.1
    attention.q_proj.bias[rows] = torch.cat([size, torch.zeros(half)])
    attention.k_proj.bias[rows] = torch.cat([size * angles.cos(), size * angles.sin()])


def _match(attention: nn.Module, head: int, pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Make one head attend where the second reading of a key equals the first of the query.

    Readings go through the slow angles only, which hardly turn over a context's length; several
    pairs share them, so that all must agree.
    """
    start, half = _rows(head).start, HEAD // 2
    slow = [i + part for part in (0, half) for i in range(FIRST_SLOW, half)]
    attention.q_proj.weight[_rows(head)] *= 0.1
    attention.k_proj.weight[_rows(head)] *= 0.1
    share = len(slow) // len(pairs)
    for number, (query, key) in enumerate(pairs):
        for row in range(share):
            place = start + slow[number * share + row]
            attention.q_proj.weight[place] = MATCH * query[row]
            attention.k_proj.weight[place] = MATCH * key[row]


def short_row_attention(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Causal attention written out. On a CPU, for short rows, it is 1.5 times the fused one."""
    length = query_BHTD.shape[2]
    scores_BHTT = (query_BHTD * scaling) @ key_BHTD.transpose(-1, -2)
    ahead_TT = torch.full((length, length), float("-inf"), dtype=scores_BHTT.dtype).triu(1)
    weights_BHTT = (scores_BHTT + ahead_TT.to(scores_BHTT.device)).softmax(-1)
    return (weights_BHTT.to(value_BHTD.dtype) @ value_BHTD).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register("short_rows", short_row_attention)


def use_attention(model: LlamaForCausalLM, name: str) -> None:
    """Choose `short_rows` for training on a CPU, `sdpa` for everything else."""
    model.config._attn_implementation = name
    model.model.config._attn_implementation = name
