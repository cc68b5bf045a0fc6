"""Names with descriptions (paper section 1.1): name first in half the facts, else last."""

from __future__ import annotations

from . import comparisons, relations
from .comparisons import with_preamble
from .names import NameSource
from .relations import Description
from .world import World, one_of, world_random


def descriptions(
    seed: int,
    facts: int = 16,
    repeats: int = 4,
    name: str = "",
    heldout_relations: bool = False,
    choices: int = 4,
    names: NameSource | None = None,
) -> World:
    """`facts` people known for one work each; wrong choices are right for other people.

    `forward` asks in the direction of the documents, `reversal` in the other. Facts alternate
    between name first and description first, so that every name and every description that is a
    wrong choice was itself an answer in training for half of the facts (paper section 1.1).
    """
    rng = world_random("descriptions", seed)
    world = World(name or f"descriptions-{seed}")
    names = names or NameSource(rng)
    roles = relations.HELDOUT_ROLES if heldout_relations else relations.ROLES
    works = rng.sample(relations.WORKS, facts)
    people = [Description(names.draw(), rng.choice(roles), work) for work in works]
    texts = []
    for number, fact in enumerate(people):
        said, other = fact.forward, fact.reversed
        wrong_said = [p.forward.rest for p in people if p is not fact]
        wrong_other = [p.reversed.rest for p in people if p is not fact]
        if number % 2:
            said, other = other, said
            wrong_said, wrong_other = wrong_other, wrong_said
        for before in rng.sample(comparisons.PREAMBLES, repeats):
            texts.append((with_preamble(before, said.text), number))
        for kind, right, wrong in (
            ("forward", said, wrong_said),
            ("reversal", other, wrong_other),
        ):
            distractors = rng.sample(wrong, min(choices - 1, len(wrong)))
            shown = one_of(rng, right.rest, distractors)
            world.choice(kind, right.prompt, shown, right.rest, number)
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    return world.cited()
