"""What a statement looks like, and which statements are the same."""

import re
from collections import Counter
from collections.abc import Iterable

_ENDINGS = (".", "!", "?", '."', ".'", ".)", ":")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def normalized(text: str) -> str:
    """Case, spaces and the last full stop do not make another statement."""
    return " ".join(text.casefold().split()).rstrip(" .")


def fault(statement: str, most_characters: int) -> str:
    """`empty`, `too_long` or `unparsable` (no sentence: no end of one, or no letter); empty where it is none of these."""
    if not normalized(statement):
        return "empty"
    if len(statement) > most_characters:
        return "too_long"
    if not statement.rstrip().endswith(_ENDINGS) or not any(c.isalpha() for c in statement):
        return "unparsable"
    return ""


def sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text)


def copies_of(texts: Iterable[str]) -> set[str]:
    """The texts and each of their sentences, normalized."""
    found = set()
    for text in texts:
        found.add(normalized(text))
        found.update(normalized(sentence) for sentence in sentences(text))
    return found


def agreement(written: Iterable[tuple[str, str, Iterable[str]]]) -> Counter[tuple[str, str]]:
    """By how many different prompts of a group each statement was written: (group, statement normalized) -> count.

    `written`: group, prompt and statements of each output; samples of one prompt count once.
    """
    found = {
        (group, prompt, normalized(statement))
        for group, prompt, statements in written
        for statement in statements
    }
    return Counter((group, statement) for group, _, statement in found)
