"""What the pretraining steers by: forced choice and greedy generation, with the house's prompts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from batches import BOS_ID, EOS_ID, PAD_ID
from tokenizer import WordEncoder
from transformers import LlamaForCausalLM

# Rows from which on it pays to read their documents first.
WORTH_SHARING = 8
# Tokens scored together: more would only take more memory.
ROW_TOKENS = 8192


@dataclass(frozen=True)
class Choice:
    """A prompt, the continuations to choose from, and which of them are right."""

    prompt: str
    choices: tuple[str, ...]
    right: frozenset[str]


@torch.no_grad()
def pick(model: LlamaForCausalLM, encoder: WordEncoder, items: Sequence[Choice]) -> list[str]:
    """The likeliest continuation of each item, by the sum of its tokens' log-probabilities.

    Many items that share their documents share one reading of them; the others are whole rows.
    """
    contexts = ["".join(item.prompt.rpartition("\n\n")[:2]) for item in items]
    sharing: Counter[str] = Counter()
    for item, context in zip(items, contexts, strict=True):
        sharing[context] += len(item.choices)
    rows_by_context: dict[str, list[Row]] = {}
    for number, (item, context) in enumerate(zip(items, contexts, strict=True)):
        shared = context if sharing[context] >= WORTH_SHARING else ""
        start = encoder(item.prompt[len(shared) :])
        rows = rows_by_context.setdefault(shared, [])
        for place, choice in enumerate(item.choices):
            rows.append(Row(number, place, start + encoder(choice), len(start)))
    sums: dict[tuple[int, int], float] = {}
    for context, rows in rows_by_context.items():
        prefix = [BOS_ID, *encoder(context)]
        rows.sort(key=lambda row: len(row.ids))
        size = max(1, ROW_TOKENS // len(rows[-1].ids))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            values = _sums(model, prefix, part)
            sums |= {(row.item, row.choice): v for row, v in zip(part, values, strict=True)}
    return [
        max(enumerate(item.choices), key=lambda choice, number=number: sums[number, choice[0]])[1]
        for number, item in enumerate(items)
    ]


@dataclass(frozen=True)
class Row:
    """One choice of one item: its tokens after the documents, of which `start` are prompt."""

    item: int
    choice: int
    ids: list[int]
    start: int


def _sums(model: LlamaForCausalLM, prefix: list[int], rows: list[Row]) -> list[float]:
    """Log-probability of each row's choice after the prefix, which is read once for all."""
    read = model.model(torch.tensor([prefix], device=model.device), use_cache=True)
    cache = read.past_key_values
    cache.batch_repeat_interleave(len(rows))
    longest = max(len(row.ids) for row in rows)
    ids_BT = torch.full((len(rows), longest), PAD_ID, device=model.device)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row.ids)] = torch.tensor(row.ids)
    hidden_BTD = model.model(ids_BT, past_key_values=cache, use_cache=True).last_hidden_state
    log_BTV = model.lm_head(hidden_BTD[:, :-1]).float().log_softmax(-1)
    own_BT = log_BTV.gather(2, ids_BT[:, 1:, None])[..., 0]
    # A prompt always precedes the choice, so its first token is predicted within the row.
    return [own_BT[number, row.start - 1 : len(row.ids) - 1].sum().item() for number, row in enumerate(rows)]


def accuracy(model: LlamaForCausalLM, encoder: WordEncoder, items: Sequence[Choice]) -> tuple[float, int]:
    """Share of items answered rightly, and their number."""
    picked = pick(model, encoder, items)
    right = sum(choice in item.right for choice, item in zip(picked, items, strict=True))
    return right / len(items), len(items)


@torch.no_grad()
def generate(
    model: LlamaForCausalLM,
    encoder: WordEncoder,
    decode: Callable[[list[int]], str],
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
