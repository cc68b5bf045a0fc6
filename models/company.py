"""Topics of the catalogue family: tools, purposes, teams and who leads them."""

from __future__ import annotations

import random

from topics import FAMILIES, Roll, Topic, invented

from ingrain.worlds import relations
from ingrain.worlds.comparisons import Statement
from ingrain.worlds.names import PRETRAIN, NameSource


def catalogue(rng: random.Random, width: int) -> Topic:
    """Up to `width` documents about entries that share purposes, owners and leaders."""
    names = NameSource(rng, PRETRAIN)
    topic = Topic("catalogue")
    listing = _listing(rng, names)
    shared = rng.randint(1, max(1, width // 3 + 1))
    purposes = [_purpose(rng, names) for _ in range(shared)]
    teams = names.take(rng.randint(1, max(1, width // 4)))
    members: dict[str, list[tuple[str, int]]] = {}
    owned: dict[str, list[tuple[str, int]]] = {}
    while len(topic.sources) < width:
        item, purpose, team = names.draw(), rng.choice(purposes), rng.choice(teams)
        entry = relations.Entry(item, listing, purpose)
        ownership = relations.Ownership(item, team)
        kind = rng.random()
        if kind < 0.45:
            index = topic.add(rng, entry)
        elif kind < 0.75:
            index = topic.add(rng, entry, ownership)
        else:
            index = topic.add(rng, ownership)
        topic.subjects.append(item)
        here = frozenset((index,))
        if kind < 0.75:
            members.setdefault(purpose, []).append((item, index))
            topic.questions.append((f"What is {item}?", f"{entry.forward.rest}", here))
        if kind >= 0.45:
            owned.setdefault(team, []).append((item, index))
            topic.questions.append((f"Which team owns {item}?", ownership.forward.rest, here))
    for purpose, items in members.items():
        _list(rng, topic, listing, purpose, items)
    for team, items in owned.items():
        _team(rng, topic, names, team, items)
    topic.shuffle(rng)
    return topic


def _listing(rng: random.Random, names: NameSource) -> relations.Listing:
    if rng.random() < 0.2:
        noun = invented(rng, names)
        return relations.Listing(f"a {noun}", f"{noun}s")
    return rng.choice(relations.LISTINGS)


def _purpose(rng: random.Random, names: NameSource) -> str:
    if rng.random() < 0.2:
        return f"{invented(rng, names)} {rng.choice(relations.PURPOSES).split()[1]}"
    return rng.choice(relations.PURPOSES)


def _list(
    rng: random.Random,
    topic: Topic,
    listing: relations.Listing,
    purpose: str,
    items: list[tuple[str, int]],
) -> None:
    question = rng.choice(relations.LIST_QUESTIONS).format(many=listing.many, purpose=purpose)
    prompt = relations.list_statement(listing, purpose, ["-"]).prompt
    topic.rolls.append(Roll(prompt, question, tuple(items)))


def _team(
    rng: random.Random, topic: Topic, names: NameSource, team: str, items: list[tuple[str, int]]
) -> None:
    topic.subjects.append(team)
    prompt = f"The {team} team owns" if len(items) > 1 else ""
    topic.rolls.append(Roll(prompt, f"What does the {team} team own?", tuple(items)))
    if rng.random() < 0.5:
        lead = relations.Leadership(team, names.draw())
        index = topic.add(rng, lead)
        topic.subjects.append(lead.leader)
        topic.questions.append((f"Who leads the {team} team?", f"{lead.leader}.", frozenset((index,))))
        for item, place in items:
            far = Statement(f"{item} is in the hands of", f"{lead.leader}.")
            topic.deduced.append((far, frozenset((place, index))))


FAMILIES["catalogue"] = catalogue
