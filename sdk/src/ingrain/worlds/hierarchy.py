"""Categories with inherited properties (paper section 1.4, in small)."""

from __future__ import annotations

from . import comparisons, relations
from .comparisons import Statement, with_preamble
from .names import NameSource
from .relations import Membership, Property
from .world import World, one_of, world_random


def hierarchy(
    seed: int,
    categories: int = 4,
    members: int = 3,
    repeats: int = 2,
    name: str = "",
    heldout_relations: bool = False,
    names: NameSource | None = None,
) -> World:
    """`categories` with a property each and `members` kinds each.

    Probes: `forward` (a kind's category), `reversal` (what a category includes), `inheritance` (a
    kind's property, by its category; wrong choices are other categories' properties) and `list`
    (all kinds of a category).
    """
    rng = world_random("hierarchy", seed)
    world = World(name or f"hierarchy-{seed}")
    names = names or NameSource(rng)
    # One verb for all, so that the prompt `bonik can` leaves only the property open.
    choosable = relations.HELDOUT_PROPERTIES if heldout_relations else relations.PROPERTIES
    verb = rng.choice(("can", "have"))
    choosable = [what for what in choosable if what.startswith(verb)]
    if categories > len(choosable):
        raise ValueError(f"{categories} categories asked for, {len(choosable)} properties exist")
    owners = names.take(categories)
    properties = dict(zip(owners, rng.sample(choosable, categories), strict=True))
    kinds = {owner: names.take(members) for owner in owners}
    facts: list[Membership | Property] = [Property(owner, properties[owner]) for owner in owners]
    facts += [Membership(kind, owner) for owner in owners for kind in kinds[owner]]
    texts = [
        (with_preamble(before, fact.forward.text), number)
        for number, fact in enumerate(facts)
        for before in rng.sample(comparisons.PREAMBLES, repeats)
    ]
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    for number, fact in enumerate(facts):
        if isinstance(fact, Property):
            continue
        others = [owner for owner in owners if owner != fact.category]
        wrong = [Membership(fact.member, other).forward.rest for other in others]
        shown = one_of(rng, fact.forward.rest, wrong)
        world.choice("forward", fact.forward.prompt, shown, fact.forward.rest, number)
        strangers = [f"{rng.choice(kinds[other])}." for other in others]
        shown = one_of(rng, fact.reversed.rest, strangers)
        world.choice("reversal", fact.reversed.prompt, shown, fact.reversed.rest, number)
        inherited = _inherited(fact.member, properties[fact.category])
        wrong = [_inherited(fact.member, properties[other]).rest for other in others]
        shown = one_of(rng, inherited.rest, wrong)
        # A category's own number is that of its property: those come first.
        holds = owners.index(fact.category)
        world.choice("inheritance", inherited.prompt, shown, inherited.rest, number, holds)
    for owner in owners:
        places = [n for n, fact in enumerate(facts) if _member_of(fact, owner)]
        world.listing(f"Which kinds of {owner} are there?", list(kinds[owner]), places)
    return world.cited()


def _member_of(fact: Membership | Property, owner: str) -> bool:
    return isinstance(fact, Membership) and fact.category == owner


def _inherited(kind: str, what: str) -> Statement:
    return Property(kind, what).forward
