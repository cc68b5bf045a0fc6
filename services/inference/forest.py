"""Many sequences over one shared prefix, in one row.

A row holds the tokens of several branches one after another; a mask lets each token see the prefix, its branch's
parent and its own branch, and nothing else. The prefix's keys and values are neither copied nor computed again, a
prompt is read once for all its choices, and a batch needs no padding.

Axes: Q new tokens of a call, K all tokens in the cache, V vocabulary.
"""

from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

CHUNK_TOKENS = 1024  # new tokens of one forward pass: bounds the mask and the activations
PREFIX = -1  # owner of tokens that everybody sees
# Rotations that change with the length of the sequence: keys in a cache are then not those of the whole.
CHANGING_ROTATIONS = {"dynamic", "longrope"}


@dataclass(frozen=True)
class Branch:
    """A sequence that goes on from `parent` (another branch's number, or PREFIX) at position `start`."""

    parent: int
    start: int


class Forest:
    def __init__(self, model: PreTrainedModel, prefix: DynamicCache | None = None) -> None:
        self._model = model
        self.cache = share(prefix, model) if prefix is not None else DynamicCache(config=model.config)
        self.prefix_length: int = prefix.get_seq_length() if prefix is not None else 0
        self._owners = torch.full((self.prefix_length,), PREFIX)
        self._branches: list[Branch] = []
        self._lengths: list[int] = []

    def branch(self, parent: int = PREFIX, after: int = 0) -> int:
        """A new branch after the prefix, or after the first `after` tokens of a branch; its number.

        A parent's tokens are fed before its children's, and a parent with children gets no more.
        """
        start = self.prefix_length if parent == PREFIX else self._branches[parent].start + after
        self._branches.append(Branch(parent, start))
        self._lengths.append(0)
        return len(self._branches) - 1

    @torch.inference_mode()
    def feed(self, tokens: list[tuple[int, int]], wanted: list[int]) -> torch.Tensor:
        """Appends (branch, token) pairs in order; log-probabilities (len(wanted), V) after the pairs at `wanted`."""
        found = []
        for begin in range(0, len(tokens), CHUNK_TOKENS):
            chunk = tokens[begin : begin + CHUNK_TOKENS]
            inside = [index - begin for index in wanted if begin <= index < begin + len(chunk)]
            found.append(self._forward(chunk, inside))
        return torch.cat(found) if found else torch.empty(0)

    def _forward(self, tokens: list[tuple[int, int]], wanted: list[int]) -> torch.Tensor:
        device = self._model.device
        positions = []
        for branch, _ in tokens:
            positions.append(self._branches[branch].start + self._lengths[branch])
            self._lengths[branch] += 1
        owners_Q = torch.tensor([branch for branch, _ in tokens])
        owners_K = torch.cat([self._owners, owners_Q])
        self._owners = owners_K
        output = self._model(
            input_ids=torch.tensor([[token for _, token in tokens]], device=device),
            position_ids=torch.tensor([positions], device=device),
            attention_mask=self._mask(owners_Q, owners_K).to(device),
            past_key_values=self.cache,
            use_cache=True,
            # One row is computed where nothing is wanted: an empty selection is not everywhere allowed.
            logits_to_keep=torch.tensor(wanted or [0], device=device),
        )
        logits_WV = output.logits[0, : len(wanted)]
        return logits_WV.float().log_softmax(-1).cpu()

    def _mask(self, owners_Q: torch.Tensor, owners_K: torch.Tensor) -> torch.Tensor:
        """(1, 1, Q, K): 0 where a token may look, the least number elsewhere."""
        parents = torch.tensor([branch.parent for branch in self._branches])
        parents_Q = parents[owners_Q]
        q_count, k_count = len(owners_Q), len(owners_K)
        index_Q = torch.arange(k_count - q_count, k_count)
        sees_QK = (
            (owners_K[None, :] == PREFIX)
            | (owners_K[None, :] == owners_Q[:, None])
            | (owners_K[None, :] == parents_Q[:, None])
        ) & (torch.arange(k_count)[None, :] <= index_Q[:, None])
        dtype = self._model.dtype
        mask_QK = torch.zeros(q_count, k_count, dtype=dtype).masked_fill_(~sees_QK, torch.finfo(dtype).min)
        return mask_QK[None, None]


def share(cache: DynamicCache, model: PreTrainedModel, length: int | None = None) -> DynamicCache:
    """A cache over the same tensors, or their first `length` tokens; appending to it leaves the first as it is."""
    layers = [(layer.keys[:, :, :length], layer.values[:, :, :length]) for layer in cache.layers]
    return DynamicCache(layers, config=model.config)


@torch.inference_mode()
def read(model: PreTrainedModel, ids: list[int]) -> DynamicCache:
    """Keys and values of a sequence, in chunks, so that memory stays flat."""
    cache = DynamicCache(config=model.config)
    for begin in range(0, len(ids), CHUNK_TOKENS):
        chunk = torch.tensor([ids[begin : begin + CHUNK_TOKENS]], device=model.device)
        model(input_ids=chunk, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def shares_rows(model: PreTrainedModel) -> bool:
    """Whether sequences of this model may share a row and a prefix. Others get one sequence a row, read whole."""
    layers = DynamicCache(config=model.config).layers
    # Sliding windows and recurrent states show in the cache; a short trial could not tell a window of thousands.
    if any(type(layer) is not DynamicLayer for layer in layers):
        return False
    rotation = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    return rotation.get("rope_type") not in CHANGING_ROTATIONS and agrees_with_plain(model)


@torch.inference_mode()
def agrees_with_plain(model: PreTrainedModel) -> bool:
    """Whether this architecture computes the same in a shared row as alone: asked of the model itself.

    Positions taken from the mask, masks of the model's own and layers that mix neighbours show here.
    """
    size = model.get_input_embeddings().num_embeddings
    prefix, first, second = (
        [(7 * i + shift) % size for i in range(n)] for shift, n in ((1, 5), (3, 4), (11, 6))
    )
    plain = [
        model(input_ids=torch.tensor([prefix + ids], device=model.device), use_cache=False).logits[0, -1]
        for ids in (first, second)
    ]
    try:
        forest = Forest(model, read(model, prefix))
        a, b = forest.branch(), forest.branch()
        pairs = [(a, token) for token in first] + [(b, token) for token in second]
        together = forest.feed(pairs, [len(first) - 1, len(pairs) - 1])
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError):
        return False
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    return all(
        (alone.float().cpu().log_softmax(-1) - shared).abs().max() < tolerance
        for alone, shared in zip(plain, together, strict=True)
    )
