"""Global: how two names of a document are related, with the documents that name both in sight (EntiGraph, 2409.07431)."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations

from services.augmenter.strategies.base import NAMING_BOTH, Ask, Document, Strategy, filled
from services.augmenter.strategies.names import names

MOST_PAIRS = 10  # of a document
MOST_IN_SIGHT = 10  # documents that name both, the first of them


def asks(text: str, documents: Sequence[Document], seed: int) -> Iterator[Ask]:
    """Each pair of a group once. Of the pairs of a document those are asked about that the seed draws, whatever else there is."""
    chosen: dict[tuple[str, str, str], None] = {}
    naming: dict[tuple[str, str], list[Document]] = {}
    for document, found in zip(documents, names(documents), strict=True):
        for name in found:
            naming.setdefault((document.group, name), []).append(document)
        for pair in drawn(found, seed):
            chosen.setdefault((document.group, *pair))
    for group, one, other in chosen:
        ids = {document.id for document in naming[group, other]}
        both = tuple(d for d in naming[group, one] if d.id in ids)[:MOST_IN_SIGHT]
        prompt = filled(text, documents="\n".join(d.text for d in both), subject=one, other=other)
        yield Ask(prompt, both, None, read=both)


def drawn(found: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """At most `MOST_PAIRS` pairs of the names, each in the order of the alphabet: those whose digest with the seed is least."""
    pairs = combinations(sorted(found), 2)

    def place(pair: tuple[str, str]) -> bytes:
        return hashlib.sha256("\n".join((str(seed), *pair)).encode()).digest()

    return sorted(pairs, key=place)[:MOST_PAIRS]


strategy = Strategy(
    "entity_pairs",
    NAMING_BOTH,
    asks,
    source="EntiGraph, 2409.07431",
    cost=f"a prompt for each pair, at most {MOST_PAIRS} for each document",
    placeholders=(("documents", "subject", "other"),),
)
