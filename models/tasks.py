"""Fresh forced-choice items for the model, from either pool of names."""

from __future__ import annotations

import random

from scoring import Choice

from ingrain.worlds import GENERATORS, comparisons, wordings
from ingrain.worlds.comparisons import Comparison, Dimension
from ingrain.worlds.logic import draw_syllogism, six_statements
from ingrain.worlds.names import NameSource


def draw_comparison(rng: random.Random, names: NameSource, dimensions: tuple[Dimension, ...]) -> Comparison:
    dimension = rng.choice(dimensions)
    pole = rng.choice((dimension.high, dimension.low))
    return Comparison(names.draw(), names.draw(), dimension, pole)


def document(rng: random.Random, fact: Comparison) -> str:
    return comparisons.with_preamble(rng.choice(comparisons.PREAMBLES), fact.forward.text)


def reversals(
    rng: random.Random,
    pool: str,
    facts: int,
    items: int,
    per_world: int = 4,
    dimensions: tuple[Dimension, ...] = comparisons.DIMENSIONS,
    context: bool = True,
    forward: bool = False,
) -> list[Choice]:
    """Two choices after a context of `facts` comparisons, each about kinds of its own."""
    found: list[Choice] = []
    while len(found) < items:
        names = NameSource(rng, pool)
        world = [draw_comparison(rng, names, dimensions) for _ in range(facts)]
        documents = [document(rng, fact) for fact in world]
        for fact in rng.sample(world, min(per_world, facts)):
            right = fact.forward if forward else fact.reversed
            wrong = fact.contradiction if forward else fact.reversed_contradiction
            prompt = right.prompt
            if context:
                prompt = wordings.in_context(documents, prompt)
            found.append(Choice(prompt, (right.rest, wrong.rest), frozenset((right.rest,))))
    return found[:items]


def syllogisms(
    rng: random.Random, pool: str, pairs: int, items: int, per_world: int = 4, context: bool = True
) -> list[Choice]:
    """Six choices after a context of `pairs` syllogisms."""
    found: list[Choice] = []
    while len(found) < items:
        names = NameSource(rng, pool)
        world = [draw_syllogism(rng, names.take(3)) for _ in range(pairs)]
        for fact in rng.sample(world, min(per_world, pairs)):
            prompt = fact.query(rng.random() < 0.5)
            if context:
                prompt = wordings.in_context([f.document for f in world], prompt)
            claim = fact.conclusion
            choices = tuple(six_statements(claim.subject, claim.predicate))
            right = frozenset(equal.text for equal in claim.equivalents)
            found.append(Choice(prompt, choices, right))
    return found[:items]


def repeated_reversals(rng: random.Random, pool: str, facts: int, repeats: int, items: int) -> list[Choice]:
    """Reversals in contexts that say each fact in several documents with other preambles."""
    found: list[Choice] = []
    while len(found) < items:
        names = NameSource(rng, pool)
        world = [draw_comparison(rng, names, comparisons.DIMENSIONS) for _ in range(facts)]
        documents = [document(rng, fact) for fact in world for _ in range(repeats)]
        rng.shuffle(documents)
        for fact in world:
            prompt = wordings.in_context(documents, fact.reversed.prompt)
            choices = (fact.reversed.rest, fact.reversed_contradiction.rest)
            found.append(Choice(prompt, choices, frozenset(choices[:1])))
    return found[:items]


def world_items(generator: str, items: int) -> list[Choice]:
    """The forced-choice probes of whole worlds, all of a world's documents in context.

    These worlds have one document a fact, so that they fit where the model was trained.
    """
    found: list[Choice] = []
    seed = 10_000
    while len(found) < items:
        world = GENERATORS[generator](seed, repeats=1)
        seed += 1
        documents = [row["text"] for row in world.documents]
        for probe in world.probes:
            if probe["kind"] == "list":
                continue
            answer = probe["answer"]
            right = frozenset([answer] if isinstance(answer, str) else answer)
            prompt = wordings.in_context(documents, probe["prompt"])
            found.append(Choice(prompt, tuple(probe["choices"]), right))
    return found[:items]
