"""Texts as words and marks, names kept whole. No model."""

import re
from collections.abc import Collection, Sequence

from services.augmenter.strategies.base import Document

_TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[^\w\s]|_+")
_ENDS = (".", "!", "?", ":")
WORD, SUBJECT, CAPITALS = range(3)


def pieces(text: str, subjects: Collection[str]) -> list[tuple[str, int]]:
    """The text's words and marks in order, and what each is: a subject, or a run of capitalised words with the numbers in it,
    or neither. The word that begins a sentence is part of a run only where it is a subject."""
    found: list[tuple[str, int]] = []
    begins, end = True, -1
    for match in _TOKEN.finditer(text):
        token = match[0]
        joined = bool(found) and found[-1][1] != WORD and found[-1][0][0].isupper()
        if joined and text[end : match.start()] == " " and (token[0].isupper() or token.isdigit()):
            found[-1] = (f"{found[-1][0]} {token}", CAPITALS)
        elif token[0].isupper() and not begins:
            found.append((token, CAPITALS))
        else:
            found.append((token, SUBJECT if token in subjects else WORD))
        begins, end = token in _ENDS, match.end()
    return found


def names(documents: Sequence[Document]) -> list[list[str]]:
    """For each document its names in the order in which they occur: runs of capitalised words, or the subjects of a group
    that writes nothing with capitals inside sentences."""
    found = [pieces(document.text, frozenset(document.subjects)) for document in documents]
    capitals: dict[str, set[str]] = {}
    for document, parts in zip(documents, found, strict=True):
        capitals.setdefault(document.group, set()).update(text for text, kind in parts if kind == CAPITALS)
    return [
        list(
            dict.fromkeys(
                text
                for text, kind in parts
                if (text in capitals[document.group] if capitals[document.group] else kind == SUBJECT)
            )
        )
        for document, parts in zip(documents, found, strict=True)
    ]
