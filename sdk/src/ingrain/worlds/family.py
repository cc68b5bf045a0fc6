"""Family trees: who is whose parent, said from one end only, and what follows from it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from .comparisons import PREAMBLES, Statement, with_preamble
from .names import NameSource
from .world import World, one_of, world_random

Link = tuple[str, str]  # parent, child


@dataclass(frozen=True)
class FamilySize:
    """How many families, and how many children a parent has in each generation."""

    families: int = 10
    children: tuple[int, ...] = (3, 2)
    couples: bool = True  # every child has two parents
    repeats: int = 3  # documents of a fact


SIZES = {"full": FamilySize(), "small": FamilySize(families=2, children=(2, 1), couples=False, repeats=2)}

PARENT = Statement("{a} is the parent of", "{b}.")
CHILD = Statement("{a} is the child of", "{b}.")
SIBLING = Statement("{a} is a sibling of", "{b}.")
GRANDPARENT = Statement("{a} is a grandparent of", "{b}.")
GRANDCHILD = Statement("{a} is a grandchild of", "{b}.")


@dataclass
class Kin:
    """Everybody's parents and children, and the facts in order."""

    links: list[Link] = field(default_factory=list)

    def parents(self, person: str) -> set[str]:
        return {parent for parent, child in self.links if child == person}

    def children(self, person: str) -> set[str]:
        return {child for parent, child in self.links if parent == person}

    def siblings(self, person: str) -> set[str]:
        return {child for parent in self.parents(person) for child in self.children(parent)} - {person}

    def grandparents(self, person: str) -> set[str]:
        return {above for parent in self.parents(person) for above in self.parents(parent)}

    def grandchildren(self, person: str) -> set[str]:
        return {below for child in self.children(person) for below in self.children(child)}


def family(
    seed: int,
    size: str = "full",
    choices: int = 4,
    name: str = "",
    names: NameSource | None = None,
    **changes: Any,
) -> World:
    """Families of three generations by default; `changes` are fields of FamilySize.

    Each link of parent and child is said from one end, which end is drawn. Kinds of probes: `forward` (from that end, as
    documents say it), `inverse` (from the other), `sibling`, `grandparent` and `grandchild` (two links). Wrong choices
    stand in the asked relation to somebody else, as far as there are such.
    """
    shape = replace(SIZES[size], **changes)
    rng = world_random("family", seed)
    world = World(name or f"family-{seed}")
    names = names or NameSource(rng)
    kin = Kin()
    for _ in range(shape.families):
        kin.links += _tree(names, shape)
    downwards = [rng.random() < 0.5 for _ in kin.links]
    texts = []
    for number, (parent, child) in enumerate(kin.links):
        said = _said(PARENT, parent, child) if downwards[number] else _said(CHILD, child, parent)
        texts += [
            (with_preamble(before, said.text), number) for before in rng.sample(PREAMBLES, shape.repeats)
        ]
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    asker = Asker(world, rng, choices, {link: number for number, link in enumerate(kin.links)})
    for number, (parent, child) in enumerate(kin.links):
        down, up = ("forward", "inverse") if downwards[number] else ("inverse", "forward")
        born = {c for _, c in kin.links} - kin.children(parent) - {parent}
        asker.ask(down, PARENT, parent, child, born, [(parent, child)])
        having = {p for p, _ in kin.links} - kin.parents(child) - {child}
        asker.ask(up, CHILD, child, parent, having, [(parent, child)])
    people = sorted({person for link in kin.links for person in link})
    _two_steps(asker, rng, kin, people)
    return world.cited()


def _two_steps(asker: Asker, rng: random.Random, kin: Kin, people: list[str]) -> None:
    with_siblings = {p for p in people if kin.siblings(p)}
    with_grandchildren = {p for p in people if kin.grandchildren(p)}
    with_grandparents = {p for p in people if kin.grandparents(p)}
    for person in people:
        if siblings := kin.siblings(person):
            other = rng.choice(sorted(siblings))
            parent = min(kin.parents(person) & kin.parents(other))
            wrong = with_siblings - siblings - {person}
            asker.ask("sibling", SIBLING, person, other, wrong, [(parent, person), (parent, other)])
        if above := kin.grandparents(person):
            elder = rng.choice(sorted(above))
            parent = min(kin.parents(person) & kin.children(elder))
            links = [(parent, person), (elder, parent)]
            wrong = with_grandchildren - above - {person}
            asker.ask("grandchild", GRANDCHILD, person, elder, wrong, links)
            wrong = with_grandparents - kin.grandchildren(elder) - {elder}
            asker.ask("grandparent", GRANDPARENT, elder, person, wrong, links)


def _tree(names: NameSource, shape: FamilySize) -> list[Link]:
    """The links of one family. Who marries in comes from elsewhere."""
    links: list[Link] = []
    generation = [names.draw()]
    for count in shape.children:
        born = []
        for person in generation:
            parents = [person, names.draw()] if shape.couples else [person]
            children = names.take(count)
            links += [(parent, child) for child in children for parent in parents]
            born += children
        generation = born
    return links


def _said(statement: Statement, a: str, b: str) -> Statement:
    return Statement(statement.prompt.format(a=a), statement.rest.format(b=b))


@dataclass(frozen=True)
class Asker:
    """Adds probes to a world; skips what has no wrong choice."""

    world: World
    rng: random.Random
    choices: int
    numbers: dict[Link, int]

    def ask(
        self, kind: str, statement: Statement, a: str, b: str, wrong: Iterable[str], links: list[Link]
    ) -> None:
        pool = sorted(wrong)
        if not pool:
            return
        right = _said(statement, a, b)
        drawn = self.rng.sample(pool, min(self.choices - 1, len(pool)))
        shown = one_of(self.rng, right.rest, [_said(statement, a, other).rest for other in drawn])
        needed = [self.numbers[link] for link in links]
        self.world.choice(kind, right.prompt, shown, right.rest, *needed, steps=str(len(needed)))
