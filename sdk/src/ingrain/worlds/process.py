"""An invented procedure that makes functions of functions, with rules to be combined (paper section 1.5)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from .comparisons import PREAMBLES, with_preamble
from .names import NameSource
from .world import World, one_of, world_random

# A term of one kind with its number: as it is written, and its value at x.
TERMS: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "power": ("x^{n}", lambda n, x: x**n),
    "sine": ("sin({n}x)", lambda n, x: math.sin(n * x)),
    "cosine": ("cos({n}x)", lambda n, x: math.cos(n * x)),
    "growth": ("exp({n}x)", lambda n, x: math.exp(n * x)),
    "trace": ("log({n}x)", lambda n, x: math.log(n * x)),
}
# What a rule makes of a term's number, for the factor and for the new term.
NUMBERS: dict[str, Callable[[int], int]] = {
    "n": lambda n: n,
    "(n + 1)": lambda n: n + 1,
    "(2n)": lambda n: 2 * n,
}
# What the procedure may make of two functions: an operator between what it makes of f (F) and of g (G).
COMBINED = {
    "+": ("G - F", "F - G", "F * G"),
    "-": ("F + G", "G - F", "F * G"),
    "*": ("F - G", "G - F", "F + G"),
}
POINTS = (0.37, 0.81, 1.43)  # where functions are compared


@dataclass(frozen=True)
class Term:
    """`factor` times a term of a kind; a factor of 1 is not written."""

    kind: str
    number: int
    factor: int = 1

    @property
    def text(self) -> str:
        written = TERMS[self.kind][0].format(n=self.number)
        return written if self.factor == 1 else f"{self.factor} {written}"

    def at(self, x: float) -> float:
        return self.factor * TERMS[self.kind][1](self.number, x)


@dataclass(frozen=True)
class Pair:
    """Two terms with an operator between them."""

    left: Term
    operator: str
    right: Term

    @property
    def text(self) -> str:
        return f"{self.left.text} {self.operator} {self.right.text}"

    def at(self, x: float) -> float:
        left, right = self.left.at(x), self.right.at(x)
        return {"+": left + right, "-": left - right, "*": left * right}[self.operator]


@dataclass(frozen=True)
class Rules:
    """The procedure: for each kind of term what it becomes, for each operator what two functions become."""

    name: str
    terms: dict[str, tuple[str, str, str]]  # kind -> new kind, factor, number
    combined: dict[str, str]

    def of(self, term: Term) -> Term:
        kind, factor, number = self.terms[term.kind]
        return Term(kind, NUMBERS[number](term.number), NUMBERS[factor](term.number))

    def of_pair(self, pair: Pair) -> Pair:
        left, operator, right = self.combined[pair.operator].split()
        made = {"F": self.of(pair.left), "G": self.of(pair.right)}
        return Pair(made[left], operator, made[right])

    def stated(self) -> list[str]:
        """Every rule as a sentence, those of terms first; their numbers are those of facts."""
        said = [
            f"the {self.name} of {TERMS[kind][0].format(n='n')} is {factor} {TERMS[new][0].format(n=number)}."
            for kind, (new, factor, number) in self.terms.items()
        ]
        for operator, formula in self.combined.items():
            words = {"F": f"(the {self.name} of f)", "G": f"(the {self.name} of g)"}
            made = " ".join(words.get(part, part) for part in formula.split())
            said.append(f"the {self.name} of f {operator} g is {made}.")
        return said


@dataclass(frozen=True)
class ProcessSize:
    """How much is said and asked."""

    heldout: int = 15  # of the 60 combinations of an operator and two kinds of terms
    repeats: int = 3  # documents of a rule
    examples: int = 8  # worked examples of a kind of term, or of a combination that is not held out
    probes: int = 4  # of a held-out combination; of every other one


SIZES = {"full": ProcessSize(), "small": ProcessSize(repeats=2, examples=1, probes=1)}


def process(
    seed: int,
    size: str = "full",
    choices: int = 4,
    name: str = "",
    names: NameSource | None = None,
    **changes: Any,
) -> World:
    """Rules, worked examples, and probes with other numbers; `changes` are fields of ProcessSize.

    Kinds of probes: `known-combination` (of an operator and two kinds of terms of which examples are worked) and
    `new-combination` (of which none is). Wrong choices come from applying a rule wrongly.
    """
    shape = replace(SIZES[size], **changes)
    rng = world_random("process", seed)
    world = World(name or f"process-{seed}")
    rules = _drawn(rng, (names or NameSource(rng)).draw())
    said = rules.stated()
    texts = [
        (with_preamble(before, text), number)
        for number, text in enumerate(said)
        for before in rng.sample([p for p in PREAMBLES if not p.endswith("?")], shape.repeats)
    ]
    combinations = [(f, o, g) for o in COMBINED for f, g in product(TERMS, TERMS) if f != g]
    rng.shuffle(combinations)
    new, known = combinations[: shape.heldout], combinations[shape.heldout :]
    seen: set[Pair] = set()
    for kind in TERMS:
        for number in rng.sample(range(2, 10), shape.examples):
            term = Term(kind, number)
            texts.append((f"The {rules.name} of {term.text} is {rules.of(term).text}.", len(texts)))
    for combination in known:
        for pair in _pairs(rng, combination, seen, shape.examples):
            texts.append((f"The {rules.name} of {pair.text} is {rules.of_pair(pair).text}.", len(texts)))
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    facts = {key: number for number, key in enumerate([*TERMS, *COMBINED])}
    for kind, asked in (("known-combination", known), ("new-combination", new)):
        for combination in asked:
            for pair in _pairs(rng, combination, seen, shape.probes):
                right = rules.of_pair(pair)
                wrong = rng.sample([w.text for w in _slips(rules, pair)], choices - 1)
                shown = one_of(rng, f"{right.text}.", [f"{text}." for text in wrong])
                needed = [facts[part] for part in (pair.operator, pair.left.kind, pair.right.kind)]
                world.choice(
                    kind, f"The {rules.name} of {pair.text} is", shown, f"{right.text}.", *needed, steps="3"
                )
    return world.cited()


def _drawn(rng: random.Random, name: str) -> Rules:
    """Rules in which no kind of term stays what it is."""
    kinds = list(TERMS)
    made = kinds[:]
    while any(a == b for a, b in zip(kinds, made, strict=True)):
        rng.shuffle(made)
    terms = {
        kind: (new, rng.choice(list(NUMBERS)), rng.choice(("n", "(n + 1)")))
        for kind, new in zip(kinds, made, strict=True)
    }
    return Rules(name, terms, {operator: rng.choice(formulas) for operator, formulas in COMBINED.items()})


def _pairs(
    rng: random.Random, combination: tuple[str, str, str], seen: set[Pair], count: int
) -> Iterator[Pair]:
    """Pairs of a combination with numbers from 2 to 9, none twice in a world."""
    left, operator, right = combination
    free = [
        pair
        for a, b in product(range(2, 10), repeat=2)
        if (pair := Pair(Term(left, a), operator, Term(right, b))) not in seen
    ]
    for pair in rng.sample(free, count):
        seen.add(pair)
        yield pair


def _slips(rules: Rules, pair: Pair) -> list[Pair]:
    """What comes out where one rule is applied wrongly, each once and none the same function as the right result."""
    right = rules.of_pair(pair)
    found = [
        replace(rules, combined={**rules.combined, pair.operator: formula}).of_pair(pair)
        for formulas in COMBINED.values()
        for formula in formulas
    ]
    for kind, other in product({pair.left.kind, pair.right.kind}, TERMS):
        found.append(replace(rules, terms={**rules.terms, kind: rules.terms[other]}).of_pair(pair))
    found.append(Pair(right.right, right.operator, right.left))
    unlike = [made for made in found if any(abs(made.at(x) - right.at(x)) > 1e-6 for x in POINTS)]
    return sorted(dict.fromkeys(unlike), key=lambda made: made.text)
