"""Episodes as tensors: a few fixed lengths, rows of one length together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from tokenizer import WordEncoder
from torch import Tensor
from writer import STOP, Episode

BOS_ID, EOS_ID, PAD_ID = 1, 2, 0
# Rows of many different lengths make the CPU back-end hold gigabytes.
LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
END_WEIGHT = 1.0


def encode(episode: Episode, encoder: WordEncoder) -> tuple[list[int], list[float]]:
    """Token ids with the loss weight of each; `<bos>` first, `<eos>` last."""
    ids, weights = [BOS_ID], [0.0]
    for text, weight in episode.parts:
        part = [EOS_ID] if text == STOP else encoder(text)
        ids += part
        weights += [weight] * len(part)
    ids.append(EOS_ID)
    weights.append(END_WEIGHT)
    return ids, weights


def stream(
    draw: Callable[[random.Random], Episode],
    rng: random.Random,
    encoder: WordEncoder,
    tokens_per_step: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (ids_BT, weights_BT) of about `tokens_per_step` tokens.

    Episodes longer than the longest row are left out.
    """
    waiting: dict[int, list[tuple[list[int], list[float]]]] = {}
    while True:
        ready = []
        for _ in range(256):
            ids, weights = encode(draw(rng), encoder)
            length = next((n for n in LENGTHS if n >= len(ids)), None)
            if length is None:
                continue
            rows = waiting.setdefault(length, [])
            rows.append((ids, weights))
            if len(rows) >= max(1, tokens_per_step // length):
                ready.append((length, rows))
                waiting[length] = []
        rng.shuffle(ready)
        for length, rows in ready:
            yield pad(rows, length)


def pad(rows: list[tuple[list[int], list[float]]], length: int) -> tuple[Tensor, Tensor]:
    """(ids_BT, weights_BT), filled up on the right with padding of weight zero."""
    ids_BT = torch.full((len(rows), length), PAD_ID)
    weights_BT = torch.zeros(len(rows), length)
    for row, (ids, weights) in enumerate(rows):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
        weights_BT[row, : len(weights)] = torch.tensor(weights)
    return ids_BT, weights_BT
