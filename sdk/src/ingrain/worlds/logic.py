"""Syllogisms over three invented kinds (paper section 1.3): valid forms and the six statements."""

from __future__ import annotations

import random
from dataclasses import dataclass

QUANTIFIERS = ("All", "Some", "No")


@dataclass(frozen=True)
class Claim:
    """`quantifier` `subject` are `predicate`."""

    quantifier: str
    subject: str
    predicate: str

    @property
    def text(self) -> str:
        return f"{self.quantifier} {self.subject} are {self.predicate}."

    @property
    def converse(self) -> Claim:
        return Claim(self.quantifier, self.predicate, self.subject)

    @property
    def equivalents(self) -> tuple[Claim, ...]:
        """Some and No mean the same both ways round; All does not."""
        return (self,) if self.quantifier == "All" else (self, self.converse)


# Valid forms with ends A, C and middle B: two premises, and the strongest conclusion without "are
# not". Each premise and the conclusion is quantifier, subject, predicate.
VALID_FORMS = (
    (("All", "A", "B"), ("All", "B", "C"), ("All", "A", "C")),
    (("All", "A", "B"), ("No", "B", "C"), ("No", "A", "C")),
    (("All", "A", "B"), ("No", "C", "B"), ("No", "A", "C")),
    (("Some", "A", "B"), ("All", "B", "C"), ("Some", "A", "C")),
    (("Some", "B", "A"), ("All", "B", "C"), ("Some", "A", "C")),
)
# "All" in one direction is as often right as "some" or "no", which hold both ways: then none of the six statements is
# the better guess for who has not read the premises.
FORM_WEIGHTS = (4, 1, 1, 1, 1)


@dataclass(frozen=True)
class Syllogism:
    """Two premises, the order in which the document names the kinds, and the conclusion."""

    premises: tuple[Claim, Claim]
    conclusion: Claim
    listed: tuple[str, str, str]

    @property
    def opening(self) -> str:
        first, second, third = self.listed
        return f"The relationships between {first}, {second} and {third} are:"

    @property
    def document(self) -> str:
        return f"{self.opening} {self.premises[0].text} {self.premises[1].text}"

    def query(self, swapped: bool) -> str:
        """The prompt that names only the two end terms, in one of their two orders."""
        ends = (self.conclusion.subject, self.conclusion.predicate)
        first, second = reversed(ends) if swapped else ends
        return f"The relationships between {first} and {second} are:"


def draw_syllogism(rng: random.Random, names: list[str], form: int | None = None) -> Syllogism:
    """A syllogism about three names, in a valid form drawn by `FORM_WEIGHTS` (or the given one)."""
    chosen = rng.choices(VALID_FORMS, FORM_WEIGHTS)[0] if form is None else VALID_FORMS[form]
    term = dict(zip("ABC", names, strict=True))
    claims = [Claim(quantifier, term[s], term[p]) for quantifier, s, p in chosen]
    premises = claims[:2]
    rng.shuffle(premises)
    listed = list(names)
    rng.shuffle(listed)
    return Syllogism((premises[0], premises[1]), claims[2], (listed[0], listed[1], listed[2]))


def six_statements(first: str, second: str) -> list[str]:
    """All, some and no in both directions."""
    return [
        Claim(quantifier, subject, predicate).text
        for quantifier in QUANTIFIERS
        for subject, predicate in ((first, second), (second, first))
    ]
