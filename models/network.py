"""The bundled model: a stock Llama, and a start that lets it find earlier names soon.

Reading in context needs two things in turn: tokens that know what stood before them, and
attention from a name to its earlier occurrence. A random start of this size takes tens of millions
of tokens to find the first. So some heads of the first layers begin as heads that look one, two or
three tokens back: their query and key biases alone, turned by the rotary angles, peak there.
All of it is trained on like any other weight, and the architecture stays stock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

HEAD = 32
ROPE_THETA = 10_000.0
WINDOW = 4096
# Layer -> how many tokens each of its first heads looks back at the start.
LOOK_BACK = {0: (1, 2, 3), 1: (1, 2)}
LOOK_BACK_AMPLITUDE = 5.0


@dataclass(frozen=True)
class Shape:
    """Size of the model. `heads` follow from `width`, 32 numbers each."""

    width: int = 128
    layers: int = 6
    inner: int = 384
    look_back: bool = False


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
    for number, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        inward = (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj)
        for projection in inward:
            projection.weight.normal_(0, fan)
        for projection in (attention.o_proj, mlp.down_proj):
            scale = 1 / math.sqrt(projection.in_features * 2 * shape.layers)
            projection.weight.normal_(0, scale)
        if shape.look_back:
            for head, distance in enumerate(LOOK_BACK.get(number, ())):
                _look_back(attention, head, distance)


def _look_back(attention: nn.Module, head: int, distance: int) -> None:
    """Make one head attend to the token `distance` places before, whatever the tokens are."""
    rows = slice(head * HEAD, (head + 1) * HEAD)
    half = HEAD // 2
    angles = distance / ROPE_THETA ** (torch.arange(half) / half)
    # The slow half of the angles tells near tokens apart too little to matter.
    size = LOOK_BACK_AMPLITUDE * (torch.arange(half) < half // 2)
    attention.q_proj.weight[rows] *= 0.1
    attention.k_proj.weight[rows] *= 0.1
    attention.q_proj.bias[rows] = torch.cat([size, torch.zeros(half)])
    attention.k_proj.bias[rows] = torch.cat([size * angles.cos(), size * angles.sin()])


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
