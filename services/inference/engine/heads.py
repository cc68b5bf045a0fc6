"""Beginnings that many texts share, tokenised once.

Questions about one context differ only behind it. The context is cut where one of its last lines begins with a letter: what
follows is tokenised with each question, and what stands before it once, as a part of the first text. Tokenizers look at
words and the space around them, so both together are the tokens of the whole; that is checked with that first text, and
where it is not so the whole is always tokenised at once.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

LEFT = 64  # characters of the context, at least, that are tokenised with each question
REMEMBERED = 8

Offsets = list[tuple[int, int]]


@dataclass(frozen=True)
class Encoded:
    """Tokens of a text: those of its first `cut` characters, and those of the rest with their offsets from there."""

    head: list[int]
    ids: list[int]
    offsets: Offsets
    cut: int

    @property
    def all(self) -> list[int]:
        return self.head + self.ids


class Heads:
    """Of one tokenizer. Empty where a beginning cannot be tokenised by itself."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bool], list[int]] = OrderedDict()

    def encode(self, tokenizer: Any, texts: list[str], documents: str | None, special: bool) -> list[Encoded]:
        """The texts have their beginning in common, as far as the end of `documents`."""
        cut = cut_of(documents, texts[0]) if documents else 0
        if not cut:
            return _encode(tokenizer, texts, special)
        head = self._head(tokenizer, texts[0], cut, special)
        if not head:
            return _encode(tokenizer, texts, special)
        return [
            Encoded(head, rest.ids, rest.offsets, cut)
            for rest in _encode(tokenizer, [text[cut:] for text in texts], special=False)
        ]

    def _head(self, tokenizer: Any, text: str, cut: int, special: bool) -> list[int]:
        key = (text[:cut], special)
        if key not in self._known:
            self._known[key] = _checked_head(tokenizer, text, cut, special)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def cut_of(documents: str, text: str) -> int:
    """Where the last line begins that has LEFT characters of the documents behind it and a letter first; 0: nowhere."""
    begin = text.find(documents)
    at = documents.rfind("\n", 1, max(1, len(documents) - LEFT)) if begin >= 0 else -1
    while at > 0:
        if documents[at + 1].isalpha() and not documents[at - 1].isspace():
            return begin + at + 1
        at = documents.rfind("\n", 1, at)
    return 0


def _checked_head(tokenizer: Any, text: str, cut: int, special: bool) -> list[int]:
    (whole,) = _encode(tokenizer, [text], special)
    (rest,) = _encode(tokenizer, [text[cut:]], special=False)
    length = _length(whole)
    count = sum(end <= cut for _, end in whole.offsets[:length])
    ends = [end - cut for _, end in whole.offsets[count:length]]
    same = whole.ids[count:length] == rest.ids and ends == [end for _, end in rest.offsets]
    return whole.ids[:count] if same else []


def _encode(tokenizer: Any, texts: list[str], special: bool) -> list[Encoded]:
    encoded = tokenizer(texts, add_special_tokens=special, return_offsets_mapping=True)
    return [
        Encoded([], ids, offsets, 0)
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _length(encoded: Encoded) -> int:
    """Without special tokens at the end, which have no characters."""
    count = len(encoded.ids)
    while count and encoded.offsets[count - 1][1] == 0:
        count -= 1
    return count
