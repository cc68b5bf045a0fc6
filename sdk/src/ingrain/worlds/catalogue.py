"""A company's catalogue in plain business sentences: tools, what they are for, who owns them."""

from __future__ import annotations

import random
from collections import defaultdict

from . import comparisons, relations
from .comparisons import with_preamble
from .names import NameSource
from .relations import Entry, Ownership
from .world import World, one_of, world_random


def catalogue(
    seed: int,
    purposes: int = 4,
    per_purpose: int = 3,
    teams: int = 3,
    repeats: int = 1,
    name: str = "",
    heldout_relations: bool = False,
    heldout_questions: bool = False,
    names: NameSource | None = None,
) -> World:
    """`per_purpose` tools for each of `purposes`, every tool owned by one of `teams`.

    Every sentence is a document of its own, so the members of a list stand in `per_purpose` times
    `repeats` documents. Probes: `purpose` (what a tool is for, against the other purposes; as the document has it),
    `owner` (what a team owns, against tools of other teams; the reverse of what the document has) and `list` (all tools
    for a purpose).
    """
    if per_purpose < 3:
        raise ValueError("a list is spread over at least three documents: per_purpose >= 3")
    rng = world_random("catalogue", seed)
    world = World(name or f"catalogue-{seed}")
    names = names or NameSource(rng)
    listings = relations.HELDOUT_LISTINGS if heldout_relations else relations.LISTINGS
    known = relations.HELDOUT_PURPOSES if heldout_relations else relations.PURPOSES
    if purposes > len(known):
        raise ValueError(f"{purposes} purposes asked for, {len(known)} exist")
    listing = listings[0]
    entries = [
        Entry(names.draw(), listing, purpose)
        for purpose in rng.sample(known, purposes)
        for _ in range(per_purpose)
    ]
    owners = names.take(teams)
    owned = [Ownership(entry.item, owners[i % teams]) for i, entry in enumerate(entries)]
    facts: list[Entry | Ownership] = [*entries, *owned]
    texts = [
        (with_preamble(before, fact.forward.text), number)
        for number, fact in enumerate(facts)
        for before in rng.sample(("", *comparisons.PREAMBLES), repeats)
    ]
    rng.shuffle(texts)
    for text, number in texts:
        world.document(text, [number])
    _choices(world, rng, entries, owned)
    _lists(world, rng, entries, heldout_questions)
    return world.cited()


def _choices(world: World, rng: random.Random, entries: list[Entry], owned: list[Ownership]) -> None:
    for number, (entry, ownership) in enumerate(zip(entries, owned, strict=True)):
        others = {e.forward.rest for e in entries if e.purpose != entry.purpose}
        shown = one_of(rng, entry.forward.rest, sorted(others))
        world.choice("purpose", entry.forward.prompt, shown, entry.forward.rest, number)
        strangers = [o.reversed.rest for o in owned if o.team != ownership.team]
        shown = one_of(rng, ownership.reversed.rest, rng.sample(strangers, min(3, len(strangers))))
        fact = len(entries) + number
        world.choice("owner", ownership.reversed.prompt, shown, ownership.reversed.rest, fact)


def _lists(world: World, rng: random.Random, entries: list[Entry], heldout: bool) -> None:
    wordings = relations.HELDOUT_LIST_QUESTIONS if heldout else relations.LIST_QUESTIONS
    members = defaultdict(list)
    for number, entry in enumerate(entries):
        members[entry.listing.many, entry.purpose].append((entry.item, number))
    for (many, purpose), items in members.items():
        question = rng.choice(wordings).format(many=many, purpose=purpose)
        world.listing(question, [item for item, _ in items], [number for _, number in items])
