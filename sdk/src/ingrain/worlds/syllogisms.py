"""Simple nonsense syllogisms (paper section 1.3): two premises, and what follows from them."""

from __future__ import annotations

from .logic import draw_syllogism, six_statements
from .names import NameSource
from .world import World, one_of, world_random


def syllogisms(
    seed: int,
    count: int = 15,
    repeats: int = 1,
    name: str = "",
    names: NameSource | None = None,
) -> World:
    """`count` syllogisms over kinds of their own, each in `repeats` equal documents.

    Two probes each, of six choices: `syllogism` names only the two end terms and asks for the
    conclusion (the answer is a list where two statements mean the same), `premise` asks for the
    first premise as the document has it.
    """
    rng = world_random("syllogisms", seed)
    world = World(name or f"syllogisms-{seed}")
    names = names or NameSource(rng)
    texts = []
    for number in range(count):
        fact = draw_syllogism(rng, names.take(3))
        texts += [(fact.document, number)] * repeats
        claim = fact.conclusion
        choices = six_statements(claim.subject, claim.predicate)
        rng.shuffle(choices)
        equal = [statement.text for statement in claim.equivalents]
        answer = equal[0] if len(equal) == 1 else equal
        prompt = fact.query(swapped=rng.random() < 0.5)
        world.choice("syllogism", prompt, choices, answer, number)
        premise = fact.premises[0]
        others = six_statements(premise.subject, premise.predicate)
        others.remove(premise.text)
        choices = one_of(rng, premise.text, others)
        world.choice("premise", fact.opening, choices, premise.text, number)
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    return world.cited()
