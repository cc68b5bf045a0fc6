"""Names and descriptions in both orders (Berglund et al. 2024; paper section 1.1), with people who do not exist."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from . import celebrities, relations
from .celebrities import Wording
from .comparisons import PREAMBLES, Statement
from .names import NameSource
from .world import World, one_of, world_random


@dataclass(frozen=True)
class CurseSize:
    """Sizes of each of the three groups; the defaults are those of Berglund et al.: 3,600 documents."""

    people: int = 30
    paraphrases: int = 30  # documents of a person and direction
    tests: int = 10  # probes of a person and direction, in wordings that no document has
    plain: bool = False  # names and wordings that the bundled model was pretrained for


SIZES = {"paper": CurseSize(), "small": CurseSize(people=3, paraphrases=3, tests=1, plain=True)}


@dataclass(frozen=True)
class Person:
    """Someone who is known for one thing."""

    name: str
    description: str
    plain: bool

    def to_description(self, wording: Wording) -> Statement:
        opening, link = wording
        text = f"{opening}{self.name}{link}"
        return Statement(_begin(text) if opening else text, f"{self.description}.")

    def to_name(self, wording: Wording) -> Statement:
        opening, link = wording
        # The bundled model knows such sentences with a capital wherever they stand.
        described = _begin(self.description) if self.plain else self.description
        return Statement(_begin(f"{opening}{described}{link}"), f"{self.name}.")


def reversal_curse(
    seed: int,
    size: str = "paper",
    choices: int = 4,
    name: str = "",
    names: NameSource | None = None,
    **changes: Any,
) -> World:
    """Three groups of people: told name first (`p2d`), description first (`d2p`), or both ways; `changes` are fields of
    CurseSize.

    Kinds of probes: `p2d-same` and `d2p-same` (in the order of the documents), `p2d-reversal` and `d2p-reversal` (in the
    other: the curse), `both-same`. Wrong choices are drawn from all groups, so that most of the names that are wrong for
    `p2d-reversal` are what documents of other groups end with.
    """
    shape = replace(SIZES[size], **changes)
    rng = world_random("reversal-curse", seed)
    world = World(name or f"reversal-curse-{seed}")
    people = _people(rng, shape, names)
    groups = {
        group: people[number * shape.people : (number + 1) * shape.people]
        for number, group in enumerate(("p2d", "d2p", "both"))
    }
    said = []
    for group, members in groups.items():
        for person in members:
            number = people.index(person)
            if group != "d2p":
                wordings = rng.sample(_wordings(shape, True, True), shape.paraphrases)
                said += [(person.to_description(wording), number, "p2d") for wording in wordings]
            if group != "p2d":
                wordings = rng.sample(_wordings(shape, False, True), shape.paraphrases)
                said += [(person.to_name(wording), number, "d2p") for wording in wordings]
    rng.shuffle(said)
    for statement, number, order in said:
        world.document(statement.text, [number], order=order)
    for group, members in groups.items():
        for person in members:
            for to_description in (True, False):
                told = group == "both" or (group == "p2d") is to_description
                kind = f"{group}-{'same' if told else 'reversal'}"
                _ask(world, rng, shape, kind, people, person, to_description, choices)
    return world.cited()


def _ask(
    world: World,
    rng: random.Random,
    shape: CurseSize,
    kind: str,
    people: Sequence[Person],
    person: Person,
    to_description: bool,
    choices: int,
) -> None:
    for wording in _wordings(shape, to_description, train=False)[: shape.tests]:
        others = rng.sample([p for p in people if p is not person], min(choices, len(people)) - 1)
        right, *wrong = [
            p.to_description(wording) if to_description else p.to_name(wording) for p in (person, *others)
        ]
        shown = one_of(rng, right.rest, [statement.rest for statement in wrong])
        order = "p2d" if to_description else "d2p"
        world.choice(kind, right.prompt, shown, right.rest, people.index(person), order=order)


def _wordings(shape: CurseSize, to_description: bool, train: bool) -> tuple[Wording, ...]:
    if shape.plain:
        # The bundled model reads one form only; what stands before it differs, and tests have nothing before it.
        return tuple((f"{before} ", " is") for before in PREAMBLES) if train else (("", " is"),)
    if to_description:
        return celebrities.TRAIN_DESCRIPTION if train else celebrities.TEST_DESCRIPTION
    return celebrities.TRAIN_NAME if train else celebrities.TEST_NAME


def _people(rng: random.Random, shape: CurseSize, names: NameSource | None) -> list[Person]:
    count = 3 * shape.people
    works = rng.sample(relations.WORKS, count)
    if shape.plain:
        names = names or NameSource(rng)
        return [Person(names.draw(), f"the {rng.choice(relations.ROLES)} of {work}", True) for work in works]
    called = rng.sample(list(product(celebrities.FIRST_NAMES, celebrities.LAST_NAMES)), count)
    return [
        Person(f"{first} {last}", f'the {rng.choice(relations.ROLES)} of "{work.title()}"', False)
        for (first, last), work in zip(called, works, strict=True)
    ]


def _begin(text: str) -> str:
    return text[0].upper() + text[1:]
