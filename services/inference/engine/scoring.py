"""Log-likelihoods of choices: each prompt is read once, each choice branches off, no choice's last token is fed."""

from dataclasses import dataclass, field

import torch

from services.inference.engine.passes import Feed
from services.inference.engine.render import Rendered, common_prefix
from services.inference.engine.sequences import Line

Choices = list[Rendered]  # of one prompt
Scores = list[tuple[float, int]]  # per choice the sum of log-probabilities in nats, and the number of tokens


@dataclass
class Question(Line):
    """A trunk that all choices begin with, and a leaf for each choice. All in one pass where that is small enough; else the
    trunk first, part by part, and then leaves, as many together as go. A single choice is nothing but trunk."""

    choices: Choices = field(default_factory=list)
    writing: bool = False

    def __post_init__(self) -> None:
        first, single = self.choices[0].ids, len(self.choices) == 1
        self.trunk = len(first) - 1 if single else shared_length(self.choices)
        self.leaves = [choice.ids[self.trunk : -1] for choice in self.choices]
        self.sums = [0.0] * len(self.choices)
        self._leaf = 0
        self._ahead = (0, 0)  # where trunk and leaves stand when the feed under way has come back
        self._following: list[
            list[tuple[int, int]]
        ] = []  # of each wanted row: choices, and the tokens that follow

    @property
    def scores(self) -> Scores:
        return [(total, len(c.ids) - c.begin) for total, c in zip(self.sums, self.choices, strict=True)]

    @property
    def done(self) -> bool:
        return self.fed == self.trunk and self._leaf == len(self.choices)

    @property
    def room(self) -> tuple[int, bool]:
        return self.trunk - self.prefix.length, True

    def next(self, most: int, whole: int) -> Feed | None:
        trunk = self.trunk - self.fed
        leaves = [len(leaf) for leaf in self.leaves[self._leaf :]]
        if trunk + sum(leaves) <= most:
            return self._feed(self.trunk, len(self.choices))
        if trunk + sum(leaves) <= whole:
            return None
        if trunk:
            return self._feed(min(self.fed + most, self.trunk), self._leaf)
        count, size = 0, 0
        while count < len(leaves) and (not count or size + leaves[count] <= most):
            size += leaves[count]
            count += 1
        return self._feed(self.trunk, self._leaf + count)

    def _feed(self, trunk_end: int, leaf_end: int) -> Feed:
        """The trunk as far as `trunk_end`, and the leaves before `leaf_end` that are still to be fed."""
        first = self.choices[0]
        tokens, positions = first.ids[self.fed : trunk_end], list(range(self.fed, trunk_end))
        parents = list(range(-1, len(tokens) - 1))
        follow: dict[int, list[tuple[int, int]]] = {}
        if len(self.choices) == 1:
            for index in range(max(0, first.begin - 1 - self.fed), len(tokens)):
                follow[index] = [(0, first.ids[self.fed + index + 1])]
        elif tokens and trunk_end == self.trunk:
            follow[len(tokens) - 1] = [
                (number, choice.ids[self.trunk])
                for number, choice in enumerate(self.choices)
                if choice.begin <= self.trunk
            ]
        last_of_trunk = len(tokens) - 1
        for number in range(self._leaf, leaf_end):
            choice, before = self.choices[number], last_of_trunk
            for position, token in enumerate(self.leaves[number], start=self.trunk):
                tokens.append(token)
                positions.append(position)
                parents.append(before)
                before = len(tokens) - 1
                if position + 1 >= choice.begin:
                    follow[before] = [(number, choice.ids[position + 1])]
        self._ahead = (trunk_end, leaf_end)
        wanted = sorted(follow)
        self._following = [follow[index] for index in wanted]
        kept = trunk_end > self.fed and (trunk_end < self.trunk or leaf_end < len(self.choices))
        branches = any(parent != index - 1 for index, parent in enumerate(parents))
        return Feed(tokens, positions, wanted, kept, parents if branches else None)

    def receive(self, logits_WV: torch.Tensor) -> None:
        if self._following:
            rows = [row for row, follows in enumerate(self._following) for _ in follows]
            tokens = [token for follows in self._following for _, token in follows]
            totals_W = logits_WV.logsumexp(-1)
            found = (logits_WV[rows, tokens] - totals_W[rows]).tolist()
            numbers = [number for follows in self._following for number, _ in follows]
            for number, logprob in zip(numbers, found, strict=True):
                self.sums[number] += logprob
        trunk_end, leaf_end = self._ahead
        new = trunk_end - self.fed + sum(len(leaf) for leaf in self.leaves[self._leaf : leaf_end])
        self.count(new, self.fed)
        self.fed, self._leaf = trunk_end, leaf_end

    @torch.inference_mode()
    def alone(self) -> None:
        """Each choice by itself, read whole."""
        model = self.loaded.model
        for number, choice in enumerate(self.choices):
            count = len(choice.ids) - choice.begin
            ids = torch.tensor([choice.ids[:-1]], device=model.device)
            logits_CV = model(input_ids=ids, use_cache=False, logits_to_keep=count).logits[0].float()
            targets_C = torch.tensor(choice.ids[choice.begin :], device=model.device)
            found_C = logits_CV.gather(1, targets_C[:, None])[:, 0] - logits_CV.logsumexp(-1)
            self.sums[number] = float(found_C.sum())
            self.count(len(choice.ids) - 1, 0)
        self.fed, self._leaf = self.trunk, len(self.choices)


def shared_length(choices: Choices) -> int:
    """Tokens that all choices begin with, prompt and more; each keeps at least its last token for itself."""
    first = choices[0].ids
    shared = min(
        [len(choice.ids) - 1 for choice in choices] + [common_prefix(first, c.ids) for c in choices[1:]]
    )
    return min(shared, min(choice.begin for choice in choices))
