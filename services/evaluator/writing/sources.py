"""Documents as sentences and words, by counting alone: no list of names, no model."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

from ingrain.v1 import evaluator_pb2
from servicekit.errors import Invalid

_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n+")
K = TypeVar("K")
V = TypeVar("V")
MOST_PHRASE_WORDS = 4
END = "."  # what follows the last word of a sentence
# Words that say little of what a text is about.
FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a about above after again all also am an and any are as at be because been before being below between both but by",
        "can could did do does doing down during each else few for from further had has have having he her here hers him",
        "his how i if in into is it its itself just less like me more most must my no nor not now of off on once one only",
        "or other our out over own said same say says she should so some still such than that the their them then there",
        "these they this those through to too under until up upon us very was we were what when where which while who whom",
        "whose why will with within without would yet you your",
    )
    for word in line.split()
)


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def content_words(text: str) -> list[str]:
    """In small letters, in order, without function words."""
    return [word.lower() for word in words(text) if word.lower() not in FUNCTION_WORDS]


def last_run(found: Sequence[str]) -> Sequence[str]:
    """The content words at the end, at most four."""
    length = 0
    while length < min(MOST_PHRASE_WORDS, len(found)) and found[-1 - length].lower() not in FUNCTION_WORDS:
        length += 1
    return found[len(found) - length :]


def normalized(text: str) -> str:
    """Case, white space and the last mark do not make another statement."""
    return " ".join(text.casefold().split()).rstrip(" .!?")


def sentences(text: str) -> list[str]:
    """Without headings: what ends in a colon states nothing."""
    pieces = [" ".join(piece.split()) for piece in _SENTENCE.split(text)]
    return [piece for piece in pieces if piece and not piece.endswith(":")]


@dataclass(frozen=True)
class Document:
    id: str
    text: str
    group: str

    @cached_property
    def sentences(self) -> list[str]:
        return sentences(self.text)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(content_words(self.text))


class Phrase(NamedTuple):
    """A name or the last words of a sentence, and the words on both sides in small letters (END after the last)."""

    before: str
    after: str
    text: str
    said: frozenset[str]
    document: Document


@dataclass(frozen=True)
class Pool:
    """The documents of one group. What is looked up is indexed once, for there may be many of them."""

    documents: tuple[Document, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """Content words of few documents: what a document is about.

        At most a quarter of them; of more than 48 at most twelve, of more than 600 a fiftieth. Two are always few.
        """
        spread = Counter(word for document in self.documents for word in document.vocabulary)
        count = len(self.documents)
        most = max(2, min(count / 4, max(12, count / 50)))
        return frozenset(word for word, number in spread.items() if number <= most)

    @cached_property
    def text(self) -> str:
        return normalized(" ".join(document.text for document in self.documents))

    def related(self, document: Document, count: int) -> list[Document]:
        """Other documents that share most names with this one, the best first."""
        shared = Counter(
            index
            for name in document.vocabulary & self.names
            for index in self._having[name]
            if self.documents[index] is not document
        )
        found = sorted(shared.items(), key=lambda item: (-item[1], item[0]))
        return [self.documents[index] for index, _ in found[:count]]

    def tell_together(self, first: str, second: Iterable[str]) -> bool:
        """Whether a sentence has the word and all of the others."""
        sentences_with = [self._told.get(word, frozenset()) for word in {first, *second}]
        return bool(frozenset.intersection(*sentences_with))

    @cached_property
    def phrases(self) -> list[Phrase]:
        return [
            phrase
            for document in self.documents
            for sentence in document.sentences
            for phrase in self._phrases_in(sentence, document)
        ]

    @cached_property
    def by_document(self) -> dict[str, list[Phrase]]:
        return _indexed((phrase.document.id, phrase) for phrase in self.phrases)

    @cached_property
    def by_place(self) -> dict[tuple[str, str], list[Phrase]]:
        return _indexed(((phrase.before, phrase.after), phrase) for phrase in self.phrases)

    @cached_property
    def by_after(self) -> dict[str, list[Phrase]]:
        return _indexed((phrase.after, phrase) for phrase in self.phrases)

    def _phrases_in(self, sentence: str, document: Document) -> Iterator[Phrase]:
        found = words(sentence)
        last = last_run(found)
        rest = found[: len(found) - len(last)]
        if last and rest:
            said = frozenset(word.lower() for word in last)
            yield Phrase(rest[-1].lower(), END, " ".join(last), said, document)
        for before, word, after in zip(["", *rest], rest, [*rest[1:], *last[:1], END], strict=False):
            if word.lower() in self.names:
                yield Phrase(before.lower(), after.lower(), word, frozenset([word.lower()]), document)

    @cached_property
    def _having(self) -> dict[str, list[int]]:
        """Name -> documents, by their index."""
        return _indexed(
            (word, index)
            for index, document in enumerate(self.documents)
            for word in document.vocabulary & self.names
        )

    @cached_property
    def _told(self) -> dict[str, frozenset[int]]:
        """Content word -> sentences, numbered through."""
        every = (sentence for document in self.documents for sentence in document.sentences)
        found = _indexed(
            (word, number) for number, sentence in enumerate(every) for word in content_words(sentence)
        )
        return {word: frozenset(numbers) for word, numbers in found.items()}


def _indexed(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def pools_of(rows: Sequence[dict[str, object]], spec: evaluator_pb2.ProbeSpec) -> dict[str, Pool]:
    """By group, in the rows' order; of rows that share the distinct key in a group only the first."""
    groups: dict[str, list[Document]] = {}
    seen: set[tuple[str, str]] = set()
    for index, row in enumerate(rows):
        metadata = row.get("metadata")
        known = metadata if isinstance(metadata, dict) else {}
        if spec.group_key and spec.group_key not in known:
            raise Invalid(
                "NO_GROUP",
                f"row {index + 1} has no metadata {spec.group_key!r}, by which documents are grouped",
                field=f"rows[{index}].metadata.{spec.group_key}",
                row=index + 1,
            )
        group = str(known.get(spec.group_key, "")) if spec.group_key else ""
        if spec.distinct_key and spec.distinct_key in known:
            fact = (group, str(known[spec.distinct_key]))
            if fact in seen:
                continue
            seen.add(fact)
        groups.setdefault(group, []).append(Document(str(row["id"]), str(row["text"]), group))
    return {group: Pool(tuple(documents)) for group, documents in groups.items()}
