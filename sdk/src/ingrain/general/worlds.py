"""The same for the bundled model, whose domain is invented worlds: other worlds than those that it is trained on."""

from dataclasses import dataclass
from typing import Any

from ingrain.worlds.reversals import reversals
from ingrain.worlds.syllogisms import syllogisms
from ingrain.worlds.wordings import in_context
from ingrain.worlds.world import World

Row = dict[str, Any]


@dataclass(frozen=True)
class HeldOut:
    """Rows for `StudySpec.retention`: `text`, `probes` (each with its document in the prompt), `context` and
    `context_probes` (asked with the documents of their world in context; `group_key` and `distinct_key` as named)."""

    text: list[Row]
    probes: list[Row]
    context: list[Row]
    context_probes: list[Row]
    group_key: str = "world"
    distinct_key: str = "fact"


def held_out(seed: int, worlds: int = 4, facts: int = 8) -> HeldOut:
    """From `worlds` worlds of comparisons and as many of syllogisms for each of the three uses; pure and repeatable.

    Names may occur in other worlds too, facts do not follow from them: take a seed that no training data has.
    """
    text, alone, read = (_worlds(seed * 3 + number, worlds, facts) for number in range(3))
    return HeldOut(
        text=[_plain(document) for world in text for document in _first_wordings(world)],
        probes=[_with_source(probe, world) for world in alone for probe in world.probes],
        context=[document for world in read for document in world.documents],
        context_probes=[probe for world in read for probe in world.probes],
    )


def _worlds(seed: int, count: int, facts: int) -> list[World]:
    made = []
    for number in range(count):
        own = seed * 1000 + number
        made.append(reversals(own, facts=facts, repeats=1, name=f"held-out-reversals-{own}"))
        made.append(syllogisms(own, count=facts, name=f"held-out-syllogisms-{own}"))
    return made


def _first_wordings(world: World) -> list[Row]:
    first = {document["metadata"]["fact"]: document for document in reversed(world.documents)}
    return list(first.values())


def _plain(document: Row) -> Row:
    return {
        "id": document["id"],
        "text": document["text"],
        "metadata": {"world": document["metadata"]["world"]},
    }


def _with_source(probe: Row, world: World) -> Row:
    """Its documents stand in its prompt, so that it can be asked of the weights alone and needs no knowledge."""
    texts = {document["id"]: document["text"] for document in world.documents}
    sources = [texts[id] for id in probe["metadata"]["sources"]]
    return {**probe, "kind": f"read_{probe['kind']}", "prompt": in_context(sources, probe["prompt"])}
