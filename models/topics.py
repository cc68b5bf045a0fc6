"""What one training episode is about: documents, and everything that follows from them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ingrain.worlds import comparisons, relations
from ingrain.worlds.comparisons import Comparison, Dimension, Statement, with_preamble
from ingrain.worlds.logic import draw_syllogism
from ingrain.worlds.names import PRETRAIN, NameSource

# Endings that turn a name into an adjective, a verb or a property that no model has seen.
ENDINGS = ("", "y", "ous", "al", "ish", "ic", "o", "ful", "ent")


@dataclass(frozen=True)
class Source:
    """One document, and what it says by itself."""

    text: str
    restated: tuple[Statement, ...]
    reversed: tuple[Statement, ...]
    inferred: tuple[Statement, ...]


Needs = frozenset[int]


@dataclass(frozen=True)
class Roll:
    """Names that belong together, each with the source that says so.

    `prompt` begins the statement that lists them all ("" if there is none).
    """

    prompt: str
    question: str
    members: tuple[tuple[str, int], ...]

    @property
    def answer(self) -> str:
        """The names in the order of their documents."""
        ordered = sorted(self.members, key=lambda member: member[1])
        return f"{relations.listed([name for name, _ in ordered])}."

    @property
    def needs(self) -> Needs:
        return frozenset(index for _, index in self.members)


@dataclass
class Topic:
    """Documents of one family. What is deduced or asked names the sources that it needs."""

    family: str
    sources: list[Source] = field(default_factory=list)
    deduced: list[tuple[Statement, Needs]] = field(default_factory=list)
    questions: list[tuple[str, str, Needs]] = field(default_factory=list)
    rolls: list[Roll] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)

    def add(self, rng: random.Random, *facts: object) -> int:
        """One document that says these facts in a row, behind a preamble or bare."""
        forward = tuple(fact.forward for fact in facts)
        backward = tuple(fact.reversed for fact in facts)
        preamble = "" if rng.random() < 0.2 else rng.choice(comparisons.PREAMBLES)
        text = with_preamble(preamble, " ".join(statement.text for statement in forward))
        self.sources.append(Source(text, forward, backward, backward))
        return len(self.sources) - 1

    def shuffle(self, rng: random.Random) -> None:
        """Put the documents in a random order."""
        order = list(range(len(self.sources)))
        rng.shuffle(order)
        place = {old: new for new, old in enumerate(order)}
        self.sources = [self.sources[old] for old in order]
        self.deduced = [(item, frozenset(map(place.get, needs))) for item, needs in self.deduced]
        self.questions = [
            (question, answer, frozenset(map(place.get, needs))) for question, answer, needs in self.questions
        ]
        self.rolls = [
            replace(roll, members=tuple((name, place[index]) for name, index in roll.members))
            for roll in self.rolls
        ]

    def all_questions(self) -> list[tuple[str, str, Needs]]:
        return self.questions + [(roll.question, roll.answer, roll.needs) for roll in self.rolls]

    def all_deduced(self) -> list[tuple[Statement, Needs]]:
        listed = [(Statement(roll.prompt, roll.answer), roll.needs) for roll in self.rolls if roll.prompt]
        return self.deduced + listed


def invented(rng: random.Random, names: NameSource) -> str:
    return names.draw() + rng.choice(ENDINGS)


def draw_dimension(rng: random.Random, names: NameSource) -> Dimension:
    if rng.random() < 0.25:
        adjective = invented(rng, names)
        return Dimension(f"more {adjective}", f"less {adjective}")
    return rng.choice(comparisons.DIMENSIONS)


def compare(rng: random.Random, width: int) -> Topic:
    """Comparisons of fresh kinds; in one topic of five some make chains a > b > c."""
    names = NameSource(rng, PRETRAIN)
    topic = Topic("compare")
    chained = width > 1 and rng.random() < 0.2
    previous: tuple[Comparison, int] | None = None
    same = draw_dimension(rng, names) if rng.random() < 0.15 else None
    facts: list[Comparison] = []
    while len(facts) < width:
        if chained and previous is not None and rng.random() < 0.6:
            before, index = previous
            fact = Comparison(before.right, names.draw(), before.dimension, before.pole)
            here = topic.add(rng, fact)
            far = Comparison(before.left, fact.right, before.dimension, before.pole)
            needs = frozenset((index, here))
            topic.deduced += [(far.forward, needs), (far.reversed, needs)]
            previous = None
        else:
            dimension = same or draw_dimension(rng, names)
            pole = rng.choice((dimension.high, dimension.low))
            fact = Comparison(names.draw(), names.draw(), dimension, pole)
            here = topic.add(rng, fact)
            previous = (fact, here)
        facts.append(fact)
        for pole, answer in ((fact.pole, fact.left), (_opposite(fact), fact.right)):
            pair = rng.sample((fact.left, fact.right), 2)
            question = f"Which are {pole}, {pair[0]} or {pair[1]}?"
            topic.questions.append((question, f"{answer}.", frozenset((here,))))
    topic.subjects = [name for fact in facts for name in (fact.left, fact.right)]
    if chained:
        topic.shuffle(rng)
    return topic


def _opposite(fact: Comparison) -> str:
    return fact.dimension.opposite(fact.pole)


def syllogisms(rng: random.Random, width: int) -> Topic:
    names = NameSource(rng, PRETRAIN)
    topic = Topic("syllogism")
    for _ in range(width):
        fact = draw_syllogism(rng, names.take(3))
        first, second = fact.premises
        swapped = f"{second.text} {first.text}"
        orders = [False, True]
        rng.shuffle(orders)
        claim = rng.choice(fact.conclusion.equivalents)
        inferred = tuple(Statement(fact.query(order), claim.text) for order in orders)
        converses = tuple(
            Statement(f"{c.quantifier} {c.subject} are", f"{c.predicate}.")
            for c in (premise.converse for premise in fact.premises)
            if c.quantifier != "All"
        )
        restated = Statement(fact.opening, swapped)
        topic.sources.append(Source(fact.document, (restated,), converses, inferred))
        topic.subjects += fact.listed
    return topic


def hierarchy(rng: random.Random, width: int) -> Topic:
    """Kinds of categories, properties of both; what holds of a category holds of its kinds."""
    names = NameSource(rng, PRETRAIN)
    topic = Topic("hierarchy")
    while len(topic.sources) < width:
        category = names.draw()
        held = [
            (what, topic.add(rng, relations.Property(category, what)))
            for what in (_property(rng, names) for _ in range(rng.randint(0, 2)))
        ]
        topic.subjects.append(category)
        members = []
        for _ in range(rng.randint(1, 3)):
            member = names.draw()
            index = topic.add(rng, relations.Membership(member, category))
            members.append((member, index))
            topic.subjects.append(member)
            for what, where in held:
                inherited = relations.Property(member, what)
                topic.deduced.append((inherited.forward, frozenset((index, where))))
            if rng.random() < 0.25:
                topic.add(rng, relations.Property(member, _property(rng, names)))
        question = f"Which kinds of {category} are there?"
        topic.rolls.append(Roll(f"The kinds of {category} are", question, tuple(members)))
    topic.shuffle(rng)
    return topic


def _property(rng: random.Random, names: NameSource) -> str:
    if rng.random() < 0.25:
        return f"{rng.choice(('can', 'have'))} {invented(rng, names)}"
    return rng.choice(relations.PROPERTIES)


def descriptions(rng: random.Random, width: int) -> Topic:
    names = NameSource(rng, PRETRAIN)
    topic = Topic("description")
    for work in rng.sample(relations.WORKS, width):
        role = invented(rng, names) if rng.random() < 0.15 else rng.choice(relations.ROLES)
        fact = relations.Description(names.draw(), role, work)
        here = frozenset((topic.add(rng, fact),))
        topic.questions.append((f"Who is the {role} of {work}?", f"{fact.name}.", here))
        topic.subjects.append(fact.name)
    return topic


FAMILIES: dict[str, Callable[[random.Random, int], Topic]] = {
    "compare": compare,
    "syllogism": syllogisms,
    "hierarchy": hierarchy,
    "description": descriptions,
}
