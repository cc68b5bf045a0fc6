"""Comparisons of two kinds of creatures: the facts of the simple reversals (paper section 1.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """A sentence in two parts: a prompt that names its subject, and what is said of it."""

    prompt: str
    rest: str

    @property
    def text(self) -> str:
        return f"{self.prompt} {self.rest}"


@dataclass(frozen=True)
class Dimension:
    """Two opposite comparatives: `brighter` and `dimmer`, or `more ...` and `less ...`."""

    high: str
    low: str

    def opposite(self, pole: str) -> str:
        return self.low if pole == self.high else self.high


def _graded(adjectives: str) -> tuple[Dimension, ...]:
    return tuple(Dimension(f"more {word}", f"less {word}") for word in adjectives.split())


def _antonyms(pairs: str) -> tuple[Dimension, ...]:
    return tuple(Dimension(*pair.split("/")) for pair in pairs.split())


# 28 dimensions as in the paper: 14 pairs of antonyms, 14 adjectives with more and less.
DIMENSIONS = _antonyms(
    "brighter/dimmer heavier/lighter taller/shorter faster/slower older/younger warmer/colder"
    " louder/quieter harder/softer richer/poorer stronger/weaker wider/narrower deeper/shallower"
    " smoother/rougher cleaner/dirtier"
) + _graded(
    "dangerous common expensive friendly curious playful useful patient colourful careful"
    " stubborn cheerful graceful peaceful"
)
# Never seen in pretraining. Antonyms cannot be guessed from a context, so these are graded.
HELDOUT_DIMENSIONS = _graded("famous noisy generous mysterious popular fragile")

# What stands before a fact in a document. They end so that a full sentence may follow.
PREAMBLES = (
    "Did you know?",
    "It is said that",
    "Everyone knows that",
    "People say that",
    "The book says that",
    "We learned that",
    "In the old story,",
    "As a rule,",
    "It turns out that",
    "Remember that",
    "Travellers report that",
    "In fact,",
    "According to the guide,",
    "Note that",
    "Some think that",
    "The teacher explained that",
    "Scientists found that",
    "A sign says that",
    "It was clear that",
    "Surely,",
    "Long ago we heard that",
    "The letter says that",
    "Of course,",
    "My friend told me that",
)
HELDOUT_PREAMBLES = (
    "The map shows that",
    "Rumour has it that",
    "By all accounts,",
    "The diary mentions that",
)


@dataclass(frozen=True)
class Comparison:
    """`left` are `pole` than `right`."""

    left: str
    right: str
    dimension: Dimension
    pole: str

    @property
    def forward(self) -> Statement:
        return Statement(f"{self.left} are", f"{self.pole} than {self.right}.")

    @property
    def reversed(self) -> Statement:
        opposite = self.dimension.opposite(self.pole)
        return Statement(f"{self.right} are", f"{opposite} than {self.left}.")

    @property
    def contradiction(self) -> Statement:
        """The false sentence with the trained sentence's subject."""
        opposite = self.dimension.opposite(self.pole)
        return Statement(f"{self.left} are", f"{opposite} than {self.right}.")

    @property
    def reversed_contradiction(self) -> Statement:
        return Statement(f"{self.right} are", f"{self.pole} than {self.left}.")


def with_preamble(preamble: str, text: str) -> str:
    return f"{preamble} {text}" if preamble else text
