"""Outputs -> statements that are kept, and those that are not, with the reason."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
_ENDINGS = (".", "!", "?", '."', ".'", ".)", ":")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
GREATEST_CHARACTERS = 2000


@dataclass
class Sieve:
    """Drops what is empty, unparsable, too long, a copy of a source, or a duplicate of what was kept."""

    copies: set[str]
    kept: set[str] = field(default_factory=set)

    @classmethod
    def over(cls, sources: Iterable[str]) -> "Sieve":
        copies = set()
        for text in sources:
            copies.add(normalized(text))
            copies.update(normalized(sentence) for sentence in _SENTENCE_END.split(text))
        return cls(copies)

    def reason_to_drop(self, statement: str) -> str:
        """One of the reasons of `Provenance.dropped_counts`, or nothing; a kept statement is remembered."""
        text = normalized(statement)
        if not text:
            return "empty"
        if len(statement) > GREATEST_CHARACTERS:
            return "too_long"
        if not statement.rstrip().endswith(_ENDINGS) or not any(c.isalpha() for c in statement):
            return "unparsable"
        if text in self.copies:
            return "copy"
        if text in self.kept:
            return "duplicate"
        self.kept.add(text)
        return ""


def agreement(prompts: Iterable[tuple[str, str]], outputs: Iterable[str]) -> Counter[tuple[str, str]]:
    """By how many different prompts of a group each statement was written: (group, statement normalized) -> count.

    `prompts` are pairs of group and prompt, one for each output; samples of one prompt count once.
    """
    written = {
        (group, prompt, normalized(statement))
        for (group, prompt), output in zip(prompts, outputs, strict=True)
        for statement in statements(output)
    }
    return Counter((group, statement) for group, _, statement in written)


def statements(output: str) -> list[str]:
    """Lines without bullets and numbers; an output of blank lines gives one empty statement."""
    lines = [_BULLET.sub("", line).strip() for line in output.splitlines()]
    return [line for line in lines if line] or [""]


def normalized(text: str) -> str:
    """Case, spaces and the last full stop do not make another statement."""
    return " ".join(text.casefold().split()).rstrip(" .")
