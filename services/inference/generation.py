"""Greedy and sampled decoding of many prompts over one shared prefix.

Each prompt draws from a random stream of its own, seeded by the call's seed, the prompt's text and how many of the same
stand before it: how prompts are batched and ordered does not change what is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from servicekit.costs import forward_flops
from services.inference.detokenise import Text
from services.inference.forest import CHUNK_TOKENS, Forest
from services.inference.models import LoadedModel
from services.inference.prefix import Prefix
from services.inference.seeds import stream_seeds
from services.inference.wire import GenerateCall, Spent

GROUP = 32  # sequences of one row: its attention grows with their square


@dataclass
class Writing:
    """One continuation on its way."""

    prompt_ids: list[int]
    stream: torch.Generator
    most: int
    detokenised: Text
    ids: list[int] = field(default_factory=list)
    text: str = ""
    finished: bool = False

    @property
    def ended(self) -> bool:
        return self.finished or len(self.ids) >= self.most


def start(loaded: LoadedModel, call: GenerateCall, prompts: list[list[int]]) -> list[Writing]:
    """The window may leave fewer than `max_tokens`: the text then ends by length."""
    writings = []
    for ids, seed in zip(prompts, stream_seeds(call.seed, call.prompts), strict=True):
        stream = torch.Generator().manual_seed(seed)
        most = min(call.max_tokens, loaded.ref.context_window - len(ids))
        writings.append(Writing(ids, stream, most, Text(loaded.tokenizer, ids)))
    return writings


def generate(
    loaded: LoadedModel, prefix: Prefix, call: GenerateCall, writings: list[Writing], spent: Spent
) -> Iterator[None]:
    """Fills the writings, and yields after each step, so that a caller can look at them or stop."""
    for group in _groups(writings, prefix.length, GROUP if loaded.shares_rows else 1):
        yield from _decode(loaded, prefix, call, group, spent)


def _groups(writings: list[Writing], prefix_length: int, most: int) -> Iterator[list[Writing]]:
    group: list[Writing] = []
    size = 0
    for writing in writings:
        tokens = len(writing.prompt_ids) - prefix_length
        if group and (len(group) == most or size + tokens > CHUNK_TOKENS):
            yield group
            group, size = [], 0
        group.append(writing)
        size += tokens
    if group:
        yield group


def _decode(
    loaded: LoadedModel, prefix: Prefix, call: GenerateCall, group: list[Writing], spent: Spent
) -> Iterator[None]:
    ends = loaded.end_ids
    forest = Forest(loaded.model, prefix.cache(loaded.model)) if loaded.shares_rows else Alone(loaded)
    branch_of = {id(writing): forest.branch() for writing in group}
    fed: list[tuple[int, int]] = []
    wanted = []
    for writing in group:
        fed.extend((branch_of[id(writing)], token) for token in writing.prompt_ids[prefix.length :])
        wanted.append(len(fed) - 1)
    logprobs_BV = forest.feed(fed, wanted)
    prefix.account(loaded.ref, len(group), len(fed), spent)
    active = [writing for writing in group if writing.most > 0]
    logprobs_BV = logprobs_BV[[index for index, writing in enumerate(group) if writing.most > 0]]
    while active:
        for writing, logprobs_V in zip(active, logprobs_BV, strict=True):
            token = pick(logprobs_V, call.temperature, call.top_p, writing.stream)
            append(writing, token, ends, call.stop)
        spent.generated_tokens += len(active)
        yield
        active = [writing for writing in active if not writing.ended]
        if active:
            pairs = [(branch_of[id(writing)], writing.ids[-1]) for writing in active]
            logprobs_BV = forest.feed(pairs, list(range(len(pairs))))
            spent.flops += sum(flops_of_last(loaded, writing) for writing in active)


def flops_of_last(loaded: LoadedModel, writing: Writing) -> float:
    """Of feeding the newest token, which looks at the prompt and all that was written before it."""
    ref, before = loaded.ref, len(writing.prompt_ids) + len(writing.ids) - 1
    return forward_flops(ref.parameter_count, ref.layer_count, ref.hidden_size, 1, before)


def pick(logprobs_V: torch.Tensor, temperature: float, top_p: float, stream: torch.Generator) -> int:
    """Greedy at temperature 0; else from the smallest set of tokens that holds `top_p` of the probability."""
    if temperature == 0:
        return int(logprobs_V.argmax())
    probabilities_V = (logprobs_V.double() / temperature).softmax(-1)
    if 0 < top_p < 1:
        sorted_V, order_V = probabilities_V.sort(descending=True)
        outside_V = sorted_V.cumsum(0) - sorted_V >= top_p
        probabilities_V[order_V[outside_V]] = 0.0
    return int(torch.multinomial(probabilities_V, 1, generator=stream))


def append(writing: Writing, token: int, ends: set[int], stops: list[str]) -> None:
    """A token that ends the text counts as written, for it was computed, but is no text."""
    writing.ids.append(token)
    writing.finished = token in ends
    if not writing.finished:
        writing.detokenised.add(token)
    if writing.ended:
        writing.detokenised.end()
    writing.text = writing.detokenised.text
    for stop in stops:
        at = writing.text.find(stop)
        if at >= 0:
            writing.text, writing.finished = writing.text[:at], True


class Alone:
    """Stands in for a forest where rows cannot be shared: one sequence, the model's own cache."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self._cache = None

    def branch(self) -> int:
        return 0

    @torch.inference_mode()
    def feed(self, tokens: list[tuple[int, int]], wanted: list[int]) -> torch.Tensor:
        """As Forest.feed; only the last token's probabilities are ever wanted of one sequence."""
        ids = torch.tensor([[token for _, token in tokens]], device=self._model.device)
        output = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = output.past_key_values
        return output.logits[0].float().log_softmax(-1).cpu()
