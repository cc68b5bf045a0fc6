"""An independent little reader of the worlds' sentences: parses text, knows no generator."""

from __future__ import annotations

import re

OPPOSITES = {
    "brighter": "dimmer",
    "heavier": "lighter",
    "taller": "shorter",
    "faster": "slower",
    "older": "younger",
    "warmer": "colder",
    "louder": "quieter",
    "harder": "softer",
    "richer": "poorer",
    "stronger": "weaker",
    "wider": "narrower",
    "deeper": "shallower",
    "smoother": "rougher",
    "cleaner": "dirtier",
}
OPPOSITES |= {low: high for high, low in OPPOSITES.items()}

COMPARISON = re.compile(r"(\w+) are ((?:more |less )?\w+) than (\w+)\.")
CLAIM = re.compile(r"(All|Some|No) (\w+) are (\w+)\.")


def opposite(pole: str) -> str:
    if pole.startswith("more "):
        return "less " + pole[5:]
    if pole.startswith("less "):
        return "more " + pole[5:]
    return OPPOSITES[pole]


def comparisons(text: str) -> set[tuple[str, str, str]]:
    """Every comparison that the text states or that a stated one means from the other end."""
    stated = set(COMPARISON.findall(text))
    return stated | {(right, opposite(pole), left) for left, pole, right in stated}


def holds(claim: tuple[str, str, str], model: set[frozenset[str]]) -> bool:
    """Whether a claim is true in a model: a set of inhabitants, each the set of its kinds."""
    quantifier, subject, predicate = claim
    subjects = [kinds for kinds in model if subject in kinds]
    if quantifier == "All":
        return all(predicate in kinds for kinds in subjects)
    found = any(predicate in kinds for kinds in subjects)
    return found if quantifier == "Some" else not found


def entails(premises: list[tuple[str, str, str]], claim: tuple[str, str, str]) -> bool:
    """Whether a claim is true in every model of the premises, by trying all models.

    Three kinds make eight sorts of inhabitants, so there are 256 models.
    """
    terms = sorted({term for _, *pair in [*premises, claim] for term in pair})
    sorts = [
        frozenset(term for bit, term in enumerate(terms) if number >> bit & 1)
        for number in range(2 ** len(terms))
    ]
    for choice in range(2 ** len(sorts)):
        model = {kinds for bit, kinds in enumerate(sorts) if choice >> bit & 1}
        if all(holds(premise, model) for premise in premises) and not holds(claim, model):
            return False
    return True
