"""What follows from the documents of a suite's worlds, by which written probes are judged. Pure."""

import itertools
import re
from collections.abc import Sequence

from ingrain.worlds.comparisons import DIMENSIONS, HELDOUT_DIMENSIONS

OPPOSITE = {
    pole: found.opposite(pole)
    for found in (*DIMENSIONS, *HELDOUT_DIMENSIONS)
    for pole in (found.high, found.low)
}
_COMPARED = re.compile(r"(\w+) are ((?:more|less) \w+|\w+) than (\w+)\.$")
_CLAIM = re.compile(r"\b(All|Some|No) (\w+) are (\w+)\.")
_OWNED = re.compile(r"(\w+) is owned by the (\w+) team\.$")
_USED = re.compile(r"(\w+) is an internal tool for (\w+ \w+)\.$")
_KIND = re.compile(r"(\w+) are a kind of (\w+)\.$")
_HAS = re.compile(r"(\w+) (?:have|can) (\w+)\.$")
_AND = re.compile(r", | and ")

Claim = tuple[str, str, str]


class Truth:
    """Of one world. `of` says of a statement whether it follows, None where this world tells of no such thing."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.compared = {found.groups() for text in texts if (found := _COMPARED.search(text))}
        self.premises = [claims for text in texts if (claims := _CLAIM.findall(text))]
        parents = dict(found.groups() for text in texts if (found := _KIND.search(text)))
        has = {found.groups() for text in texts if (found := _HAS.search(text))}
        above = {child: _chain(child, parents) for child in parents}
        self.pairs = {
            "owned": {found.groups() for text in texts if (found := _OWNED.search(text))},
            "used": {found.groups() for text in texts if (found := _USED.search(text))},
            "kind": {(child, kind) for child, kinds in above.items() for kind in kinds},
            "has": has | {(child, trait) for child in above for kind, trait in has if kind in above[child]},
        }

    def of(self, statement: str) -> bool | None:
        if found := _COMPARED.search(statement):
            first, pole, second = found.groups()
            return bool({(first, pole, second), (second, OPPOSITE.get(pole, ""), first)} & self.compared)
        if claims := _CLAIM.findall(statement):
            return any(entails(premises, claims[-1]) for premises in self.premises)
        for pattern, relation, thing_first in (
            (_OWNED, "owned", True),
            (re.compile(r"(\w+) is in the hands of (\w+)\.$"), "owned", True),
            (re.compile(r"The (\w+) team owns (.*)\.$"), "owned", False),
            (_USED, "used", True),
            (re.compile(r"One internal tool for (\w+ \w+) is (\w+)\.$"), "used", False),
            (re.compile(r"The internal tools for (\w+ \w+) are (.*)\.$"), "used", False),
            (_KIND, "kind", True),
            (re.compile(r"The kinds of (\w+) are (.*)\.$"), "kind", False),
            (re.compile(r"Those that (?:have|can) (\w+) include (.*)\.$"), "has", False),
            (re.compile(r"(\w+) include (.*)\.$"), "kind", False),
            (_HAS, "has", True),
        ):
            if found := pattern.search(statement):
                things, of = found.groups() if thing_first else found.groups()[::-1]
                return all((thing, of) in self.pairs[relation] for thing in _AND.split(things))
        return None


def claim_of(statement: str) -> tuple[str, ...] | None:
    """What a comparison, or the last of several claims with a quantifier, says, in lower case; None for anything else."""
    compared, claims = _COMPARED.search(statement), _CLAIM.findall(statement)
    said = compared.groups() if compared else claims[-1] if claims else None
    return tuple(word.lower() for word in said) if said else None


def entails(premises: Sequence[Claim], conclusion: Claim) -> bool:
    """Whether it holds in every small world in which the premises hold and none of the kinds is empty."""
    names = sorted({name for _, subject, predicate in premises for name in (subject, predicate)})
    if not {conclusion[1], conclusion[2]} <= set(names):
        return False
    regions = [region for region in itertools.product((False, True), repeat=len(names)) if any(region)]
    for chosen in itertools.product((False, True), repeat=len(regions)):
        world = [region for region, is_there in zip(regions, chosen, strict=True) if is_there]
        if not all(any(column) for column in zip(*world, strict=True)) or not world:
            continue
        holds = [_holds(claim, world, names) for claim in (*premises, conclusion)]
        if all(holds[:-1]) and not holds[-1]:
            return False
    return True


def _holds(claim: Claim, world: Sequence[tuple[bool, ...]], names: Sequence[str]) -> bool:
    quantifier, subject, predicate = claim
    them = [region[names.index(predicate)] for region in world if region[names.index(subject)]]
    return {"All": all(them), "Some": any(them), "No": not any(them)}[quantifier]


def _chain(child: str, parents: dict[str, str]) -> list[str]:
    found = []
    while child in parents and parents[child] not in found:
        child = parents[child]
        found.append(child)
    return found
