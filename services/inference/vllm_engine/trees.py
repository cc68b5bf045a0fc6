"""Choices -> looks at the next token's probabilities. Pure.

vLLM gives log-probabilities of a prompt's own tokens only where it computes them: with its prefix cache off, which reads the
whole context anew for every choice, or on, where whatever happens to be cached comes back without any. So a choice's tokens are
never part of a prompt whose probabilities are asked for: after each token of it (but the last) a look asks how likely the tokens
are that go on from there. What stands before a look is read from the cache; choices that begin alike share looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.inference.engine.render import Rendered, common_prefix

Place = tuple[int, ...]  # tokens behind the trunk


@dataclass(frozen=True)
class Look:
    """After trunk and `place`: the log-probabilities of `tokens`."""

    place: Place
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Tree:
    """A question's choices. `trunk`: what all of them begin with and nobody is scored for."""

    trunk: list[int]
    looks: list[Look]
    choices: Sequence[Rendered]

    @property
    def read_count(self) -> int:
        """Tokens that are read, each once: the trunk, and every token behind which something is looked at."""
        return len(self.trunk) + len(
            {look.place[:n] for look in self.looks for n in range(1, len(look.place) + 1)}
        )

    def scores(self, found: Mapping[Place, Mapping[int, float]]) -> list[tuple[float, int]]:
        """Per choice the sum of log-probabilities in nats and the number of tokens; `found` by the looks' places."""
        begin = len(self.trunk)
        return [
            (
                sum(
                    found[tuple(choice.ids[begin:at])][choice.ids[at]]
                    for at in range(choice.begin, len(choice.ids))
                ),
                len(choice.ids) - choice.begin,
            )
            for choice in self.choices
        ]


def tree_of(choices: Sequence[Rendered]) -> Tree:
    """Looks in an order in which each is behind those that it continues."""
    first = choices[0].ids
    length = min([choice.begin for choice in choices] + [common_prefix(first, c.ids) for c in choices[1:]])
    wanted: dict[Place, set[int]] = {}
    for choice in choices:
        for at in range(choice.begin, len(choice.ids)):
            wanted.setdefault(tuple(choice.ids[length:at]), set()).add(choice.ids[at])
    looks = [Look(place, tuple(sorted(wanted[place]))) for place in sorted(wanted, key=lambda p: (len(p), p))]
    return Tree(first[:length], looks, choices)
