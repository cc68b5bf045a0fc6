"""The fake model: it knows the texts it was given and answers by shared words. Deterministic, no weights."""

import functools
import re
from typing import Any

from ingrain import worlds

WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
# Words of questions that say nothing about their object.
_COMMON = frozenset(
    [
        "a",
        "an",
        "and",
        "answer",
        "are",
        "for",
        "in",
        "is",
        "it",
        "of",
        "question",
        "the",
        "there",
        "to",
        "what",
        "which",
        "who",
    ]
)


def words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def token_count(text: str) -> int:
    return len(words(text))


def narrow_token_count(text: str) -> int:
    """Of a model that knows the words of invented worlds; others fall apart into letters."""
    return sum(1 if word in _world_words() else len(word) for word in words(text))


@functools.cache
def _world_words() -> frozenset[str]:
    return frozenset(word for row in worlds.suite(seed=0).documents for word in words(row["text"]))


def answer(prompt: str, texts: list[str]) -> str:
    """The known sentence that shares most words with the prompt."""
    asked = set(words(prompt)) - _COMMON
    best, known = max(_sentences(tuple(texts)), key=lambda s: len(asked & s[1]), default=("", frozenset()))
    return best if asked & known else "I do not know."


def score(prompt: str, choice: str, texts: list[str]) -> tuple[float, int]:
    """Sum of log-probabilities and number of tokens: nearer to 0 the more of it stands in one known sentence."""
    together, tokens = set(words(f"{prompt} {choice}")), max(1, token_count(choice))
    known = max((len(together & s[1]) / len(together) for s in _sentences(tuple(texts))), default=0.0)
    return -tokens * (3.0 - 2.0 * known), tokens


def right_answers(probe: dict[str, Any]) -> list[str]:
    """The choices that are right; several where they say the same."""
    answer = probe.get("answer", "")
    return [answer] if isinstance(answer, str) else answer


@functools.lru_cache(maxsize=64)
def _sentences(texts: tuple[str, ...]) -> list[tuple[str, frozenset[str]]]:
    pieces = [piece.strip() for text in texts for piece in _SENTENCE.split(text)]
    return [(piece, frozenset(words(piece))) for piece in pieces if piece]
