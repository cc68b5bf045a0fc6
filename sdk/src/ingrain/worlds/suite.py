"""Several independent worlds as one data set."""

from __future__ import annotations

from collections.abc import Callable

from .catalogue import catalogue
from .descriptions import descriptions
from .hierarchy import hierarchy
from .names import NameSource
from .reversals import reversals
from .syllogisms import syllogisms
from .world import World, world_random


def suite(
    seed: int,
    reversal_worlds: int = 12,
    facts: int = 16,
    repeats: int = 4,
    syllogism_worlds: int = 12,
    syllogism_count: int = 15,
    catalogues: int = 1,
    description_worlds: int = 0,
    hierarchies: int = 0,
    heldout_relations: bool = False,
    heldout_preambles: bool = False,
) -> World:
    """Worlds of several kinds in one list of documents and probes; no name occurs in two of them.

    `metadata.world` says to which world a row belongs: a context is made of one world's documents,
    and intervals are clustered by world. The defaults give 192 reversals and 180 syllogisms.
    """
    names = NameSource(world_random("suite", seed))
    plans: list[tuple[Callable[..., World], str, int, dict[str, object]]] = [
        (
            reversals,
            "reversals",
            reversal_worlds,
            {
                "facts": facts,
                "repeats": repeats,
                "heldout_relations": heldout_relations,
                "heldout_preambles": heldout_preambles,
            },
        ),
        (syllogisms, "syllogisms", syllogism_worlds, {"count": syllogism_count}),
        (catalogue, "catalogue", catalogues, {}),
        (descriptions, "descriptions", description_worlds, {"facts": facts}),
        (hierarchy, "hierarchy", hierarchies, {}),
    ]
    whole = World(f"suite-{seed}")
    for generator, title, count, sizes in plans:
        for number in range(count):
            # Seeds of suites never meet: no suite has a thousand worlds of one kind.
            world = generator(seed * 1000 + number, name=f"s{seed}-{title}-{number}", names=names, **sizes)
            whole.documents.extend(world.documents)
            whole.probes.extend(world.probes)
    return whole
