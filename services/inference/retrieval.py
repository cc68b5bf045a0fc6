"""What a question is asked with where documents are searched: pieces of text, the best by BM25.

BM25 as Lucene has it (k1 1.5, b 0.75), over lower-case words; no word is left out and none is cut down, so that
invented names and numbers are found.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np

from ingrain.v1 import common_pb2
from servicekit.sentences import sentences

DEFAULT_TOP_K = 5
DEFAULT_PASSAGE_WORDS = 60
K1, B = 1.5, 0.75
_WORD = re.compile(r"\w+")
_BYTES_PER_TEXT_BYTE = 4  # what an index and its texts take in memory, about


@dataclass(frozen=True)
class Piece:
    """A document or a passage of one; its tokens as the context's model counts them."""

    text: str
    token_count: int


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def pieces_of(texts: Iterable[str], retrieval: common_pb2.Retrieval) -> list[str]:
    """What is searched, in the order of the documents."""
    if retrieval.unit != common_pb2.Retrieval.PASSAGE:
        return list(texts)
    most = retrieval.passage_words or DEFAULT_PASSAGE_WORDS
    return [passage for text in texts for passage in passages(text, most)]


def passages(text: str, most_words: int) -> list[str]:
    """Whole sentences in order, as many together as have at most so many words; a longer sentence stands alone."""
    found: list[list[str]] = []
    size = 0
    for sentence in sentences(text):
        count = len(sentence.split())
        if not found or size + count > most_words:
            found.append([])
            size = 0
        found[-1].append(sentence)
        size += count
    return [" ".join(together) for together in found]


class Index:
    """Pieces that can be searched. Building it takes a while for many: not in the event loop."""

    def __init__(self, pieces: Sequence[Piece], retrieval: common_pb2.Retrieval) -> None:
        self.pieces = list(pieces)
        self.best_last = retrieval.unit == common_pb2.Retrieval.PASSAGE
        self.top_k = retrieval.top_k or DEFAULT_TOP_K
        self.size_bytes = sum(len(piece.text.encode()) for piece in self.pieces) * _BYTES_PER_TEXT_BYTE
        self._scores = bm25s.BM25(method="lucene", k1=K1, b=B)
        # The library takes no empty texts; a word that no question has keeps the numbers of the pieces.
        self._scores.index([words(piece.text) or ["\x00"] for piece in self.pieces], show_progress=False)

    def best(self, query: str) -> list[int]:
        """Numbers of the pieces, best first, of equals the earlier; what shares no word with the query is none."""
        asked = words(query)
        if not asked:
            return []
        scores_D: np.ndarray = self._scores.get_scores(asked)
        ranked = np.argsort(-scores_D, kind="stable")[: self.top_k]
        return [int(number) for number in ranked if scores_D[number] > 0]

    def token_count(self, query: str) -> int:
        """Of all that would be read for it, with the breaks between."""
        return sum(self.pieces[number].token_count + 1 for number in self.best(query))

    def documents(self, query: str, room: int | None = None) -> str:
        """The best pieces as one text, of at most `room` tokens: what does not fit is left out whole, from the worst on."""
        kept: list[int] = []
        used = 0
        for number in self.best(query):
            used += self.pieces[number].token_count + 1
            if room is not None and used > room:
                break
            kept.append(number)
        shown = reversed(kept) if self.best_last else sorted(kept)
        return "\n".join(self.pieces[number].text for number in shown)


def stored(pieces: Iterable[Piece]) -> bytes:
    return b"".join(
        json.dumps([piece.text, piece.token_count], ensure_ascii=False).encode() + b"\n" for piece in pieces
    )


def read(content: bytes) -> list[Piece]:
    return [Piece(*json.loads(line)) for line in content.splitlines()]
