"""A micro-batch as the model is fed with it (legend: B rows, L tokens of a row, T tokens that are read, N targets).

A token is read only where a target of its own text comes after it: padding, texts without targets and the last token of each text would
be reckoned for nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from services.trainer.packing import IGNORED

if TYPE_CHECKING:
    from services.trainer.data import Batch
    from services.trainer.distillation import Teacher

# The platform's attention, as an attn_implementation of transformers (attention.py).
NAME = "texts"
# Implementations that are told where texts begin, so that texts need no rows.
IN_LINE = (NAME, "flash_attention_2")
MOST_PADDING = 128  # tokens


@dataclass(frozen=True)
class Targets:
    """What the model is asked for: `ids_N` after the places `at_N` among the tokens it reads, rows one after the other."""

    at_N: torch.Tensor
    ids_N: torch.Tensor
    teacher: "Teacher | None" = None
    each: bool = False  # the loss of each is wanted instead of their sum


@dataclass(frozen=True)
class Reading:
    """`inputs` are the model's arguments."""

    inputs: dict[str, Any]
    targets: Targets


def in_rows(batch: "Batch") -> Reading:
    """The rows as they are, [B, L]. No attention mask and no cache: only then does transformers see from the restarting positions
    where a text begins; with either of them the texts silently read one another."""
    wanted_BL = predicted(batch)
    at_N = torch.nonzero(wanted_BL.flatten()).squeeze(1) - 1
    inputs = {"input_ids": batch.input_ids_BL, "position_ids": batch.position_ids_BL, "use_cache": False}
    return Reading(inputs, Targets(at_N, batch.labels_BL[wanted_BL], batch.teacher))


def in_line(batch: "Batch", implementation: str = NAME, few_shapes: bool = False) -> Reading:
    """[1, T]: what has to be read of all texts, one after the other, with their borders as the attention mask; FlashAttention of
    transformers takes them by names of its own. With `few_shapes` padding follows as texts of its own, so that T is one of `rounded`."""
    positions_T = batch.position_ids_BL.flatten()
    wanted_T = predicted(batch).flatten()
    text_T = (positions_T == 0).cumsum(0) - 1
    places_T = torch.arange(len(positions_T), device=positions_T.device)
    # Of each text the last target's place; a text without one ends before it begins.
    last = torch.full((int(text_T[-1]) + 1,), -1, device=positions_T.device)
    last.scatter_reduce_(0, text_T[wanted_T], places_T[wanted_T], "amax")
    read_T = places_T < last[text_T]
    if not bool(read_T.any()):
        # With ZeRO stage 3 all workers take part in every layer, also those that have nothing to learn.
        read_T = places_T == 0
    new_place_T = read_T.cumsum(0) - 1
    ids, positions = batch.input_ids_BL.flatten()[read_T], positions_T[read_T]
    if few_shapes:
        missing = rounded(len(positions)) - len(positions)
        # No text is longer than a row: models may know no further positions.
        padding = places_T[:missing] % batch.position_ids_BL.shape[1]
        ids, positions = F.pad(ids, (0, missing)), torch.cat([positions, padding])
    starts = torch.nonzero(positions == 0).squeeze(1)
    borders = torch.cat([starts, starts.new_tensor([len(positions)])])
    inputs = {"input_ids": ids[None], "position_ids": positions[None], "use_cache": False}
    if implementation == NAME:
        inputs["attention_mask"] = borders_mask(borders)
    else:
        inputs["cu_seq_lens_q"] = inputs["cu_seq_lens_k"] = borders.to(torch.int32)
    if positions.is_cuda:
        # Known here once, so that no layer has to wait for the GPU to know it.
        inputs["max_length_q"] = inputs["max_length_k"] = int(positions.max()) + 1
    at_N = new_place_T[places_T[wanted_T] - 1]
    return Reading(inputs, Targets(at_N, batch.labels_BL.flatten()[wanted_T], batch.teacher))


def rounded(count: int) -> int:
    """Up, by less than one part in 16, to one of few: a processor compiles a kernel for each size of a bfloat16 multiplication
    (kernels.py). There are 16 from one power of two to the next, and more from 4,096 on."""
    step = min(MOST_PADDING, max(1, (1 << (count - 1).bit_length()) >> 5))
    return -(-count // step) * step


def predicted(batch: "Batch") -> torch.Tensor:
    """[B, L]: labels that something comes before."""
    return (batch.labels_BL != IGNORED) & (batch.position_ids_BL > 0)


def borders_mask(borders: torch.Tensor) -> torch.Tensor:
    """The attention mask for texts with these borders [texts + 1], the first of them 0 and the last T."""
    return borders.to(torch.int32)[None, None, None]
