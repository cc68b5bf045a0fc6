"""Log-likelihoods of choices: each prompt is read once, each choice branches off, no choice's last token is fed."""

from collections.abc import Iterator

import torch

from servicekit.costs import forward_flops
from services.inference.forest import CHUNK_TOKENS, Forest
from services.inference.models import LoadedModel
from services.inference.prefix import Prefix
from services.inference.render import Rendered, common_prefix
from services.inference.wire import Spent

Choices = list[Rendered]  # of one prompt
Scores = list[tuple[float, int]]  # per choice the sum of log-probabilities in nats, and the number of tokens


def score(loaded: LoadedModel, prefix: Prefix, items: list[Choices], spent: Spent) -> Iterator[list[Scores]]:
    """The items' scores in order, a batch at a time, so that a caller can stop between two."""
    if loaded.shares_rows:
        for group in _groups(items, prefix.length):
            yield _together(loaded, prefix, group, spent)
    else:
        for choices in items:
            yield [[_alone(loaded, choice, spent) for choice in choices]]


def _groups(items: list[Choices], prefix_length: int) -> Iterator[list[Choices]]:
    group: list[Choices] = []
    size = 0
    for choices in items:
        tokens = sum(len(choice.ids) - prefix_length for choice in choices)
        if group and size + tokens > CHUNK_TOKENS:
            yield group
            group, size = [], 0
        group.append(choices)
        size += tokens
    if group:
        yield group


def _together(loaded: LoadedModel, prefix: Prefix, items: list[Choices], spent: Spent) -> list[Scores]:
    forest = Forest(loaded.model, prefix.cache(loaded.model))
    fed: list[tuple[int, int]] = []
    # For each probability that is needed: the fed token after which it stands, and (item, choice, token that follows).
    needed: list[tuple[int, tuple[int, int, int]]] = []
    for item, choices in enumerate(items):
        shared = shared_length(choices)
        trunk = forest.branch()
        fed.extend((trunk, token) for token in choices[0].ids[prefix.length : shared])
        end_of_trunk = len(fed) - 1
        for number, choice in enumerate(choices):
            leaf = forest.branch(trunk, after=shared - prefix.length)
            own = choice.ids[shared:-1]
            before = [end_of_trunk, *range(len(fed), len(fed) + len(own))]
            fed.extend((leaf, token) for token in own)
            following = choice.ids[shared:]
            for position, (index, token) in enumerate(zip(before, following, strict=True), start=shared):
                if position >= choice.begin:
                    needed.append((index, (item, number, token)))
    wanted = sorted({index for index, _ in needed})
    row_of = {index: row for row, index in enumerate(wanted)}
    logprobs_WV = forest.feed(fed, wanted)
    sums = [[0.0] * len(choices) for choices in items]
    for index, (item, number, token) in needed:
        sums[item][number] += float(logprobs_WV[row_of[index], token])
    prefix.account(loaded.ref, len(items), len(fed), spent)
    return [
        [(sums[item][number], len(choice.ids) - choice.begin) for number, choice in enumerate(choices)]
        for item, choices in enumerate(items)
    ]


def shared_length(choices: Choices) -> int:
    """Tokens that all choices begin with, prompt and more; each keeps at least its last token for itself."""
    first = choices[0].ids
    shared = min(
        [len(choice.ids) - 1 for choice in choices] + [common_prefix(first, c.ids) for c in choices[1:]]
    )
    return min(shared, min(choice.begin for choice in choices))


@torch.inference_mode()
def _alone(loaded: LoadedModel, choice: Rendered, spent: Spent) -> tuple[float, int]:
    ref, count = loaded.ref, len(choice.ids) - choice.begin
    ids = torch.tensor([choice.ids[:-1]], device=loaded.model.device)
    logits_CV = loaded.model(input_ids=ids, use_cache=False, logits_to_keep=count).logits[0]
    logprobs_CV = logits_CV.float().log_softmax(-1)
    targets_C = torch.tensor(choice.ids[choice.begin :], device=logprobs_CV.device)
    spent.prompt_tokens += len(choice.ids) - 1
    spent.flops += forward_flops(ref.parameter_count, ref.layer_count, ref.hidden_size, len(choice.ids) - 1)
    return float(logprobs_CV.gather(1, targets_C[:, None]).sum()), count
