"""Categories in a tree, each with facts of its own and all that holds of what it is a kind of (paper section 1.4)."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from .names import NameSource

# Share of the lowest categories' properties that some stranger has too: what can zept need not be a kind of the same.
SHARED = 0.25
VERBS = 8  # for all facts of the relation `does`


@dataclass(frozen=True)
class Fact:
    """`subject` stands in `relation` to `value`; for relation `kind` the value is the category above."""

    subject: str
    relation: str
    value: str


@dataclass
class Taxonomy:
    """Levels of categories from the top, and the facts; those of `heldout` ones say only what they are a kind of."""

    levels: list[list[str]]
    parent: dict[str, str]
    heldout: frozenset[str]
    facts: list[Fact] = field(default_factory=list)
    _own: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))

    def add(self, fact: Fact) -> None:
        self.facts.append(fact)
        self._own[fact.subject].append(fact)

    def own(self, category: str) -> list[Fact]:
        """What is said of the category itself."""
        return self._own[category]

    def above(self, category: str) -> list[str]:
        """All that it is a kind of, the nearest first."""
        found = []
        while category in self.parent:
            category = self.parent[category]
            found.append(category)
        return found

    def holds(self, category: str, relation: str) -> set[str]:
        """Every value that follows for the category in this relation."""
        if relation == "kind":
            return set(self.above(category))
        return {
            fact.value
            for holder in (category, *self.above(category))
            for fact in self.own(holder)
            if fact.relation == relation
        }

    def level(self, category: str) -> int:
        return len(self.above(category))

    def chain(self, category: str, holder: str) -> list[Fact]:
        """The facts by which a category is a kind of `holder`, none where it is `holder`."""
        found = []
        while category != holder:
            found.append(Fact(category, "kind", self.parent[category]))
            category = self.parent[category]
        return found


def grow(
    rng: random.Random,
    names: NameSource,
    levels: tuple[int, ...],
    own: tuple[int, int],
    relations: tuple[str, ...],
    heldout: int,
) -> Taxonomy:
    """A tree of so many categories a level, evenly branched, with `own` (least, most) properties a category.

    Held out are categories of the lowest level, each below another parent as far as there are enough.
    """
    named = [names.take(count) for count in levels]
    parent = {
        category: above[number % len(above)]
        for above, below in pairwise(named)
        for number, category in enumerate(below)
    }
    taxonomy = Taxonomy(named, parent, frozenset(named[-1][:heldout]))
    verbs = names.take(VERBS) if "does" in relations else []
    known: dict[str, list[str]] = defaultdict(list)
    for category in (category for level in named for category in level):
        if category in parent:
            taxonomy.add(Fact(category, "kind", parent[category]))
        if category in taxonomy.heldout:
            continue
        for _ in range(rng.randint(*own)):
            relation = rng.choice(relations)
            value = _value(rng, names, taxonomy, category, relation, known[relation], verbs)
            known[relation].append(value)
            taxonomy.add(Fact(category, relation, value))
    return taxonomy


def _value(
    rng: random.Random,
    names: NameSource,
    taxonomy: Taxonomy,
    category: str,
    relation: str,
    known: list[str],
    verbs: list[str],
) -> str:
    """A value that does not hold of the category yet: on the lowest level at times a stranger's, else a new one."""
    held = taxonomy.holds(category, relation)
    lowest = category in taxonomy.levels[-1]
    strangers = [value for value in known if value not in held] if lowest else []
    if strangers and rng.random() < SHARED:
        return rng.choice(strangers)
    if relation != "does":
        return names.draw()
    others = [c for level in taxonomy.levels for c in level if c != category and c not in taxonomy.heldout]
    while True:
        value = f"{rng.choice(verbs)} {rng.choice(others)}"
        if value not in held and value not in known:
            return value
