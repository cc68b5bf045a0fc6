"""Simple nonsense reversals (paper section 1.2): comparisons said in one direction only."""

from __future__ import annotations

from . import comparisons
from .comparisons import Comparison, with_preamble
from .names import NameSource
from .world import World, one_of, world_random


def reversals(
    seed: int,
    facts: int = 16,
    repeats: int = 4,
    name: str = "",
    heldout_relations: bool = False,
    heldout_preambles: bool = False,
    names: NameSource | None = None,
) -> World:
    """`facts` comparisons of kinds that occur nowhere else, each in `repeats` documents.

    The documents of a fact differ in what stands before it. Two probes a fact, of two choices:
    `forward` asks what the documents say, `reversal` the same from the other end.
    """
    rng = world_random("reversals", seed)
    world = World(name or f"reversals-{seed}")
    names = names or NameSource(rng)
    dimensions = comparisons.HELDOUT_DIMENSIONS if heldout_relations else comparisons.DIMENSIONS
    preambles = comparisons.HELDOUT_PREAMBLES if heldout_preambles else comparisons.PREAMBLES
    texts = []
    for number in range(facts):
        dimension = rng.choice(dimensions)
        pole = rng.choice((dimension.high, dimension.low))
        fact = Comparison(names.draw(), names.draw(), dimension, pole)
        chosen = rng.sample(preambles, min(repeats, len(preambles)))
        chosen += [rng.choice(preambles) for _ in range(repeats - len(chosen))]
        texts += [(with_preamble(before, fact.forward.text), number) for before in chosen]
        for kind, right, wrong in (
            ("forward", fact.forward, fact.contradiction),
            ("reversal", fact.reversed, fact.reversed_contradiction),
        ):
            choices = one_of(rng, right.rest, [wrong.rest])
            world.choice(kind, right.prompt, choices, right.rest, number)
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    return world.cited()
