"""What the pretraining steers by: forced choice and greedy generation, with the house's prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from batches import BOS_ID, EOS_ID, PAD_ID
from tokenizer import WordEncoder
from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Choice:
    """A prompt, the continuations to choose from, and which of them are right."""

    prompt: str
    choices: tuple[str, ...]
    right: frozenset[str]


@torch.no_grad()
def pick(model: LlamaForCausalLM, encoder: WordEncoder, items: Sequence[Choice]) -> list[str]:
    """The likeliest continuation of each item, by the sum of its tokens' log-probabilities."""
    rows: list[tuple[list[int], int]] = []
    for item in items:
        prompt = [BOS_ID, *encoder(item.prompt)]
        rows += [(prompt + encoder(choice), len(prompt)) for choice in item.choices]
    sums = _sums(model, rows)
    picked, start = [], 0
    for item in items:
        scores = sums[start : start + len(item.choices)]
        picked.append(item.choices[scores.index(max(scores))])
        start += len(item.choices)
    return picked


def _sums(
    model: LlamaForCausalLM, rows: list[tuple[list[int], int]], budget: int = 8192
) -> list[float]:
    """Log-probability of each row from its given start on; rows of like length share a batch."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    sums = [0.0] * len(rows)
    while order:
        longest = len(rows[order[-1]][0])
        batch = [order.pop() for _ in range(min(len(order), max(1, budget // longest)))]
        ids_BT = torch.full((len(batch), longest), PAD_ID)
        for row, index in enumerate(batch):
            ids_BT[row, : len(rows[index][0])] = torch.tensor(rows[index][0])
        ids_BT = ids_BT.to(model.device)
        hidden_BTD = model.model(ids_BT, use_cache=False).last_hidden_state
        for row, index in enumerate(batch):
            ids, start = rows[index]
            logits_TV = model.lm_head(hidden_BTD[row, start - 1 : len(ids) - 1]).float()
            chosen_T = torch.tensor(ids[start:], device=model.device)
            log_T = logits_TV.log_softmax(-1).gather(1, chosen_T[:, None])
            sums[index] = log_T.sum().item()
    return sums


def accuracy(
    model: LlamaForCausalLM, encoder: WordEncoder, items: Sequence[Choice]
) -> tuple[float, int]:
    """Share of items answered rightly, and their number."""
    picked = pick(model, encoder, items)
    right = sum(choice in item.right for choice, item in zip(picked, items, strict=True))
    return right / len(items), len(items)


@torch.no_grad()
def generate(
    model: LlamaForCausalLM,
    encoder: WordEncoder,
    decode: object,
    prompts: Sequence[str],
    most: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """What the model writes after each prompt, up to `<eos>`; prompts of one length go together."""
    generator = torch.Generator().manual_seed(seed)
    outputs = [""] * len(prompts)
    groups: dict[int, list[int]] = {}
    encoded = [[BOS_ID, *encoder(prompt)] for prompt in prompts]
    for index, ids in enumerate(encoded):
        groups.setdefault(len(ids), []).append(index)
    for members in groups.values():
        for start in range(0, len(members), 64):
            part = members[start : start + 64]
            ids_BT = torch.tensor([encoded[i] for i in part])
            written = _continue(model, ids_BT, most, temperature, generator)
            for index, ids in zip(part, written, strict=True):
                outputs[index] = decode(ids)
    return outputs


def _continue(
    model: LlamaForCausalLM,
    ids_BT: torch.Tensor,
    most: int,
    temperature: float,
    generator: torch.Generator,
) -> list[list[int]]:
    written: list[list[int]] = [[] for _ in ids_BT]
    done = [False] * len(written)
    cache = None
    for _ in range(most):
        result = model(ids_BT, past_key_values=cache, use_cache=True)
        cache = result.past_key_values
        logits_BV = result.logits[:, -1].float()
        if temperature:
            chances_BV = (logits_BV / temperature).softmax(-1)
            next_B1 = torch.multinomial(chances_BV, 1, generator=generator)
        else:
            next_B1 = logits_BV.argmax(-1, keepdim=True)
        for row, token in enumerate(next_B1[:, 0].tolist()):
            done[row] = done[row] or token == EOS_ID
            if not done[row]:
                written[row].append(token)
        if all(done):
            break
        ids_BT = next_B1
    return written


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share out of n."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)
