"""A minimal set of probes from plain documents, to start with and to edit.

Three kinds. `verbatim`: the beginning of a sentence, its own ending among endings of others. `reversal`: statements
that a model turned round, kept only if plain rules find them in the source the other way round. `list`: all that
is said to be the same thing ("X is a Y."), over all documents.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])|\n{2,}")
_MARKUP = re.compile(r"^\s*(#|[-*+] |\d+\. |\||```|>)", re.MULTILINE)
_IS_A = re.compile(r"^(?:The )?([A-Z][\w-]*(?: [A-Z][\w-]*){0,3}) is (an? [^.,;:!?]{3,80})\.$")
_COMMON = frozenset(
    [
        "a",
        "about",
        "all",
        "also",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "do",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "more",
        "most",
        "no",
        "not",
        "of",
        "on",
        "one",
        "or",
        "our",
        "she",
        "so",
        "some",
        "than",
        "that",
        "the",
        "their",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "with",
        "you",
    ]
)
CHOICE_COUNT = 4
MAX_PER_KIND = 200


class Sentence(NamedTuple):
    """`source`: where it stands, for people; `document`: the row's id."""

    text: str
    source: str
    document: str = ""


def sentences(documents: Iterable[dict[str, Any]]) -> list[Sentence]:
    """Sentences of 6 to 40 words, each once, without headings, lists and code."""
    found: dict[str, Sentence] = {}
    for number, row in enumerate(documents):
        document = str(row.get("id") or number)
        source = str(row.get("metadata", {}).get("path") or document)
        for piece in _SENTENCE.split(row.get("text", "")):
            text = " ".join(piece.split())
            if 6 <= len(text.split()) <= 40 and text[-1] in ".!?" and not _MARKUP.match(piece):
                found.setdefault(text, Sentence(text, source, document))
    return list(found.values())


def verbatim(known: Sequence[Sentence], seed: int = 0) -> list[dict[str, Any]]:
    """A cloze per sentence: the ending is its last third, at least two words."""
    return list(_cloze("verbatim", known, seed))


def reversals(
    written: Iterable[str], known: Sequence[Sentence], seed: int = 0
) -> tuple[list[dict[str, Any]], int]:
    """Probes from statements that a model wrote, and how many statements were dropped."""
    kept, dropped = [], 0
    for text in dict.fromkeys(" ".join(text.split()) for text in written):
        source = reversed_source(text, known)
        if source is None:
            dropped += 1
        else:
            kept.append(Sentence(text, source.source, source.document))
    return list(_cloze("reversal", kept, seed)), dropped


def reversed_source(text: str, known: Sequence[Sentence]) -> Sentence | None:
    """The sentence that `text` turns round: nearly all content words are its, and what comes first in one comes
    last in the other. None where there is none, or `text` stands there word for word."""
    said = _content(text)
    if len(said) < 2 or any(text == sentence.text for sentence in known):
        return None
    for sentence in known:
        given = _content(sentence.text)
        if (
            len(set(said) & set(given)) < 0.75 * len(set(said))
            or said[0] not in given
            or said[-1] not in given
        ):
            continue
        if given.index(said[0]) > given.index(said[-1]):
            return sentence
    return None


def lists(known: Sequence[Sentence]) -> list[dict[str, Any]]:
    """Questions for all that is said to be the same thing, where that is said of at least two."""
    members: dict[str, dict[str, str]] = {}
    for sentence in known:
        match = _IS_A.match(sentence.text)
        if match and match[1].lower() not in _COMMON:
            members.setdefault(match[2], {}).setdefault(match[1], sentence.document)
    return [
        {
            "id": f"list-{number}",
            "kind": "list",
            "question": f"Name everything that is {thing}.",
            "answers": list(names),
            "metadata": {"sources": list(dict.fromkeys(names.values()))},
        }
        for number, (thing, names) in enumerate((t, n) for t, n in members.items() if len(n) > 1)
    ][:MAX_PER_KIND]


def _cloze(kind: str, known: Sequence[Sentence], seed: int) -> Iterator[dict[str, Any]]:
    random_ = random.Random(seed)
    halves = [(_halves(sentence.text), sentence) for sentence in known]
    # What goes on in several ways has no one right answer.
    ways = Counter(beginning for beginning, _ in {both for both, _ in halves})
    halves = [half for half in halves if ways[half[0][0]] == 1]
    endings = list(dict.fromkeys(ending for (_, ending), _ in halves))
    if len(endings) < 2:
        return
    picked = random_.sample(halves, min(MAX_PER_KIND, len(halves)))
    for number, ((beginning, ending), sentence) in enumerate(picked):
        others = [e for e in endings if e != ending]
        choices = [ending, *random_.sample(others, min(CHOICE_COUNT - 1, len(others)))]
        random_.shuffle(choices)
        yield {
            "id": f"{kind}-{number}",
            "kind": kind,
            "prompt": beginning,
            "choices": choices,
            "answer": ending,
            "metadata": {"path": sentence.source, "sources": [sentence.document]},
        }


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    cut = len(words) - max(2, len(words) // 3)
    return " ".join(words[:cut]), " ".join(words[cut:])


def _content(text: str) -> list[str]:
    return [word for word in re.findall(r"[\w-]+", text.lower()) if word not in _COMMON]
