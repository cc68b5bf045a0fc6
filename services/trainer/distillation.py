"""Context distillation: what the base model says of every target with the documents in its context, computed before the training.

The documents are read once into a cache of keys and values; rows follow in batches, each behind all documents and blind to the other rows.
Workers share the batches and exchange what they found. (Legend: N targets of a micro-batch, T of all rows, K tokens that are kept
for each, G beginnings, B rows of a batch, L tokens of a row, V vocabulary.) Needs torch, no Ray.
"""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from services.trainer.config import TrainingConfig

# Of a batch: numbers of the logits in float32, which are the most memory, and tokens whose keys and values are held.
MOST_LOGITS = 1 << 27
MOST_CACHED_TOKENS = 1 << 16
PREFIX_STEP = 1024  # tokens of a beginning that are read at once
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Teacher:
    """For each target of a batch, in the order of `labels_BL != -100` read row by row."""

    top_ids_NK: torch.Tensor  # int64
    top_logprobs_NK: torch.Tensor  # float32, nats
    rest_logprob_N: torch.Tensor  # of all other tokens together; -inf where none is left
    temperature: float  # at which all of them are


def teacher_of(arrays: Arrays, target_N: np.ndarray, temperature: float, device: torch.device) -> Teacher:
    """Of the targets with these numbers, out of what `teacher_targets` gave."""
    return Teacher(
        torch.from_numpy(arrays["teacher.top_ids_TK"][target_N].astype(np.int64)).to(device),
        torch.from_numpy(arrays["teacher.top_logprobs_TK"][target_N]).to(device),
        torch.from_numpy(arrays["teacher.rest_logprob_T"][target_N]).to(device),
        temperature,
    )


@torch.no_grad()
def teacher_targets(model: Any, arrays: Arrays, config: TrainingConfig, rank: int, world: int) -> Arrays:
    """The arrays `teacher.top_ids_TK` (int32), `teacher.top_logprobs_TK` and `teacher.rest_logprob_T` (float32), the same on every
    worker and however many there are. A collective. The model is the base, with adapters that do nothing yet; it is left as it was.

    12 bytes per target and kept token, at most, are held by each worker: 8 for ids and probabilities, 4 while they are exchanged.
    """
    device = (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
    place, training = next(model.parameters()).device, model.training
    move(model, device)
    model.eval()
    kept = min(config.distillation_top_k, vocabulary_size(model))
    target_count = int(arrays["teacher.target_X"].max()) + 1
    ids_TK = torch.zeros((target_count, kept), dtype=torch.int32)
    logprobs_TK = torch.zeros((target_count, kept))
    rest_T = torch.zeros(target_count)
    bf16 = device.type == "cuda" and config.bf16 is not False and torch.cuda.is_bf16_supported()
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for lesson in lessons(model, arrays, device, rank, world):
                found = most_likely(lesson.logits_NV, config.distillation_temperature, kept)
                for whole, part in zip((ids_TK, logprobs_TK, rest_T), found, strict=True):
                    whole[lesson.target_N] = part.to("cpu", whole.dtype)
    finally:
        move(model, place)
        model.train(training)
    if world > 1:
        for whole in (ids_TK, logprobs_TK, rest_T):
            exchange(whole, device)
    return {
        "teacher.top_ids_TK": ids_TK.numpy(),
        "teacher.top_logprobs_TK": logprobs_TK.numpy(),
        "teacher.rest_logprob_T": rest_T.numpy(),
    }


@dataclass(frozen=True)
class Lesson:
    """What the model says of some targets."""

    target_N: torch.Tensor
    logits_NV: torch.Tensor


def lessons(model: Any, arrays: Arrays, device: torch.device, rank: int, world: int) -> Iterator[Lesson]:
    """This worker's share: every `world`-th batch. Batches do not depend on the number of workers, so neither do their sums."""
    ends_G, ends_N = arrays["teacher.prefix_end_G"], arrays["teacher.suffix_end_N"]
    starts_G, starts_N = np.r_[0, ends_G[:-1]], np.r_[0, ends_N[:-1]]
    turn = 0
    for group, (start, end) in enumerate(zip(starts_G, ends_G, strict=True)):
        rows = np.flatnonzero(arrays["teacher.group_N"] == group)
        lengths = (ends_N - starts_N)[rows]
        rows = rows[np.argsort(-lengths, kind="stable")]
        cache = None
        for batch in batches(rows, ends_N - starts_N, int(end - start), vocabulary_size(model)):
            turn += 1
            if turn % world != rank:
                continue
            if cache is None and end > start:
                cache = read(model, arrays["teacher.prefix_P"][start:end], device)
            yield answer(
                model,
                cache,
                int(end - start),
                [arrays["teacher.suffix_X"][starts_N[n] : ends_N[n]] for n in batch],
                [arrays["teacher.target_X"][starts_N[n] : ends_N[n]] for n in batch],
                device,
            )


def batches(rows: np.ndarray, lengths_N: np.ndarray, prefix: int, vocabulary: int) -> Iterator[list[int]]:
    """Rows, the longest first, as many as memory allows, at least one."""
    remaining = rows.tolist()
    while remaining:
        longest = int(lengths_N[remaining[0]])
        size = min(MOST_LOGITS // (longest * vocabulary), MOST_CACHED_TOKENS // (prefix + longest))
        yield remaining[: max(1, size)]
        remaining = remaining[max(1, size) :]


def read(model: Any, prefix_P: np.ndarray, device: torch.device) -> Any:
    """The cache after the beginning."""
    ids = torch.from_numpy(prefix_P.astype(np.int64)).to(device)[None]
    cache = None
    for start in range(0, ids.shape[1], PREFIX_STEP):
        part = ids[:, start : start + PREFIX_STEP]
        positions = torch.arange(start, start + part.shape[1], device=device)[None]
        cache = model(
            input_ids=part, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).past_key_values
    return cache


def answer(
    model: Any,
    cache: Any,
    prefix: int,
    suffixes: list[np.ndarray],
    targets: list[np.ndarray],
    device: torch.device,
) -> Lesson:
    """One pass over rows of different lengths behind the same beginning. What follows a short row is seen by nothing of it."""
    size, longest = len(suffixes), max(map(len, suffixes))
    ids_BL = np.zeros((size, longest), np.int64)
    target_BL = np.full((size, longest), -1, np.int64)
    for b, (suffix, target) in enumerate(zip(suffixes, targets, strict=True)):
        ids_BL[b, : len(suffix)], target_BL[b, : len(target)] = suffix, target
    logits_BLV = model(
        input_ids=torch.from_numpy(ids_BL).to(device),
        position_ids=torch.arange(prefix, prefix + longest, device=device).expand(size, -1),
        past_key_values=None if cache is None else repeated(cache, size),
        use_cache=cache is not None,
    ).logits
    # A token is predicted by the one before it.
    rows, columns = np.nonzero(target_BL[:, 1:] >= 0)
    return Lesson(
        torch.from_numpy(target_BL[rows, columns + 1]),
        logits_BLV[torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)],
    )


def repeated(cache: Any, times: int) -> Any:
    """The cache for that many rows: views of the same keys and values, which a pass never writes to."""
    copied = copy.copy(cache)
    copied.layers = []
    for layer in cache.layers:
        viewed = copy.copy(layer)
        viewed.keys = layer.keys.expand(times, -1, -1, -1)
        viewed.values = layer.values.expand(times, -1, -1, -1)
        copied.layers.append(viewed)
    return copied


def most_likely(
    logits_NV: torch.Tensor, temperature: float, kept: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and log-probabilities of the `kept` most likely tokens [N, K], and the logarithm of what is left [N]."""
    logprobs_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    top = logprobs_NV.topk(kept, dim=-1)
    others_NV = logprobs_NV.scatter(-1, top.indices, -torch.inf)
    return top.indices, top.values, others_NV.logsumexp(dim=-1)


def exchange(whole: torch.Tensor, device: torch.device) -> None:
    """Every worker has zeros where another one has numbers; afterwards all have all of them. In parts, for a GPU's memory."""
    flat = whole.view(-1)
    for start in itertools.count(0, 1 << 24):
        if start >= len(flat):
            return
        part = flat[start : start + (1 << 24)].to(device)
        dist.all_reduce(part)
        flat[start : start + (1 << 24)] = part.cpu()


def move(model: Any, device: torch.device) -> None:
    # A base in 4 bits is where it is used, and may not be moved.
    if next(model.parameters()).device != device:
        model.to(device)


def vocabulary_size(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])
