"""Whether an architecture can share a row of tokens, asked of the model itself. Others get one sequence a row, in their own way."""

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from services.inference.engine.attention import NAME, Layers
from services.inference.engine.passes import Entry, Feed, forward
from services.inference.engine.shelves import Shelves, Tail, layers_of

# Rotations that change with the length of the sequence: keys in a cache are then not those of the whole.
CHANGING_ROTATIONS = {"dynamic", "longrope"}
ROUNDING = 0.5  # of how far the probabilities of two texts are apart


@torch.inference_mode()
def shares_rows(model: PreTrainedModel) -> bool:
    """Sets the model's attention to that of `attention` where that gives the same; else leaves it as it was."""
    layers = DynamicCache(config=model.config).layers
    # Sliding windows and recurrent states show in the cache; a short trial could not tell a window of thousands.
    if any(type(layer) is not DynamicLayer for layer in layers):
        return False
    rotation = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if rotation.get("rope_type") in CHANGING_ROTATIONS:
        return False
    before = model.config._attn_implementation
    try:
        plain = _plain(model)
        model.set_attn_implementation(NAME)
        agrees = model.config._attn_implementation == NAME and _agrees(model, plain)
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError, NotImplementedError):
        agrees = False
    if not agrees:
        model.set_attn_implementation(before)
    return agrees


PREFIX, FIRST, SECOND, TWIG = (
    [(7 * i + shift) for i in range(n)] for shift, n in ((1, 5), (3, 4), (11, 6), (5, 3))
)


@torch.inference_mode()
def _plain(model: PreTrainedModel) -> list[torch.Tensor]:
    """Last logits of a branch, of another, and of one that goes on from the other's first two tokens."""
    size = model.get_input_embeddings().num_embeddings
    found = []
    for ids in (PREFIX + FIRST, PREFIX + SECOND, PREFIX + SECOND[:2] + TWIG):
        row = torch.tensor([[token % size for token in ids]], device=model.device)
        found.append(model(input_ids=row, use_cache=False).logits[0, -1].float().log_softmax(-1))
    return found


def _agrees(model: PreTrainedModel, plain: list[torch.Tensor]) -> bool:
    """Positions taken from elsewhere, masks of the model's own and layers that mix neighbours show here: a prefix, a sequence
    in two chunks and then token by token, and a tree, in passes together."""
    size = model.get_input_embeddings().num_embeddings
    ids = lambda tokens: [token % size for token in tokens]  # noqa: E731
    shelves, read, first = Shelves(), Tail(), Tail()
    forward(model, shelves, [Entry(Feed(ids(PREFIX), list(range(5)), [], kept=True), read)])
    layers = Layers(*(list(tensors) for tensors in zip(*layers_of(read), strict=True)))
    tree = Feed(
        ids(SECOND[:2] + SECOND[2:] + TWIG),
        [5, 6, 7, 8, 9, 10, 7, 8, 9],
        [5, 8],
        False,
        [-1, 0, 1, 2, 3, 4, 1, 6, 7],
    )
    begin = Feed(ids(FIRST[:2]), [5, 6], [], kept=True)
    _, (second, twig) = forward(
        model, shelves, [Entry(begin, first, layers, 5), Entry(tree, Tail(), layers, 5)]
    )
    forward(model, shelves, [Entry(Feed(ids(FIRST[2:3]), [7], [], kept=True), first, layers, 5)])
    (alone,) = forward(model, shelves, [Entry(Feed(ids(FIRST[3:]), [8], [0], kept=True), first, layers, 5)])
    differences = [
        (found.log_softmax(-1) - expected).abs()
        for found, expected in zip((alone[0], second, twig), plain, strict=True)
    ]
    if model.dtype == torch.float32:
        return all(bool(difference.max() < 1e-3) for difference in differences)
    # In short formats any other order of adding up differs; what is computed wrongly differs as much as two texts do.
    apart = float((plain[0] - plain[1]).abs().mean())
    return all(float(difference.mean()) < ROUNDING * apart for difference in differences)
