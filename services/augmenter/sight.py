"""What a global strategy reads of a group where not all of it is read: the documents most like the one in focus. Pure.

Which they are depends on the words of the group's documents (BM25 as Lucene has it), so after one document changed nearly
all prompts that do not read it stay the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import bm25s
import numpy as np

from services.augmenter.strategies import Ask, Document

K1, B = 1.5, 0.75
DIGITS = 4  # of scores
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Room:
    """The most `tokens` that a prompt may have with all that is read; `counts` of each document by its id."""

    tokens: int
    counts: Mapping[str, int]

    def of_prompt(self, ask: Ask) -> int:
        """Tokens of the prompt without what is read before it, at most: what is no document counts a token for each byte."""
        size = len(ask.prompt.encode())
        inside = [document for document in ask.documents if document.text in ask.prompt]
        counted = sum(self.counts[document.id] for document in inside)
        return min(size, counted + size - sum(len(document.text.encode()) for document in inside))

    def of_document(self, document: Document) -> int:
        return self.counts[document.id] + 1  # and the break after it


class Sight:
    """The groups of these documents, searched when first asked for. `most` documents are read, 0 being all that fit."""

    def __init__(self, documents: Sequence[Document], most: int, room: Room | None) -> None:
        self._groups: dict[str, list[Document]] = {}
        for document in documents:
            self._groups.setdefault(document.group, []).append(document)
        self._tokens = {
            group: sum(room.of_document(document) for document in inside) if room else 0
            for group, inside in self._groups.items()
        }
        self._most = most
        self._room = room
        self._indices: dict[str, Index] = {}

    def narrowed(self, ask: Ask) -> Ask:
        """The ask as it is where all of its group are read; else with the chosen ones before its prompt, in their order.

        The sources are read before all others. A source that is not read is none any more.
        """
        group = ask.context_group
        if group is None:
            return ask
        inside = self._groups[group]
        few = 0 < self._most < len(inside)
        room = self._room.tokens - self._room.of_prompt(ask) if self._room else None
        if not few and (room is None or self._tokens[group] <= room):
            return ask
        if group not in self._indices:
            self._indices[group] = Index(inside)
        read = self._fitting(self._indices[group].ranked(ask.documents, self._most or len(inside)), room)
        ids = {document.id for document in read}
        sources = tuple(document for document in ask.documents if document.id in ids)
        prompt = "\n".join(document.text for document in read) + "\n\n" + ask.prompt
        return replace(ask, prompt=prompt, documents=sources, context_group=None, read=tuple(read))

    def _fitting(self, ranked: Sequence[tuple[int, Document]], room: int | None) -> list[Document]:
        """From the first on, as many as fit; the first in any case, so that what cannot be asked is said of a document."""
        kept = ranked[:1]
        if room is None or self._room is None:
            kept = ranked
        else:
            used = sum(self._room.of_document(document) for _, document in kept)
            for place, document in ranked[1:]:
                used += self._room.of_document(document)
                if used > room:
                    break
                kept = [*kept, (place, document)]
        return [document for _, document in sorted(kept, key=lambda found: found[0])]


class Index:
    """Documents of a group that can be searched by other documents of it."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self._places = {document.id: place for place, document in enumerate(documents)}
        self._scores = bm25s.BM25(method="lucene", k1=K1, b=B)
        # The library takes no empty texts; a word that no text has keeps the numbers of the documents.
        self._scores.index([words(document.text) or ["\x00"] for document in documents], show_progress=False)

    def ranked(self, sources: Sequence[Document], most: int) -> list[tuple[int, Document]]:
        """Places and documents: the sources first, then the most like them, of equals the earlier; none without a word of
        theirs; each part best first."""
        asked = list(dict.fromkeys(word for source in sources for word in words(source.text)))
        scores_D = (
            self._scores.get_scores(asked).astype(np.float64) if asked else np.zeros(len(self._documents))
        )
        # Any change of the group moves every score a little: what is equally like must stay so, or other documents are read.
        scores_D = scores_D.round(DIGITS)
        first = np.zeros(len(self._documents), dtype=bool)
        first[[self._places[source.id] for source in sources]] = True
        scores_D = np.where(first, scores_D + scores_D.max() + 1, scores_D)
        if most < len(scores_D):
            least = np.partition(scores_D, -most)[-most]
            candidates = np.flatnonzero((scores_D >= least) & (scores_D > 0))
        else:
            candidates = np.flatnonzero(scores_D > 0)
        order = candidates[np.argsort(-scores_D[candidates], kind="stable")][:most]
        return [(int(place), self._documents[place]) for place in order]


def words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
