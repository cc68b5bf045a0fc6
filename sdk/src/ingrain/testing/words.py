"""The fake model: it knows the texts it was given and answers by shared words. Deterministic, no weights."""

import re
from typing import Any

_WORD = re.compile(r"\w+")
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
    return [word.lower() for word in _WORD.findall(text)]


def answer(prompt: str, texts: list[str]) -> str:
    """The known sentence that shares most words with the prompt."""
    asked = set(words(prompt)) - _COMMON
    best = max(_sentences(texts), key=lambda s: len(asked & set(words(s))), default="")
    return best if asked & set(words(best)) else "I do not know."


def score(prompt: str, choice: str, texts: list[str]) -> tuple[float, int]:
    """Sum of log-probabilities and number of tokens: nearer to 0 the more of it stands in one known sentence."""
    together, tokens = set(words(f"{prompt} {choice}")), max(1, len(words(choice)))
    known = max((len(together & set(words(s))) / len(together) for s in _sentences(texts)), default=0.0)
    return -tokens * (3.0 - 2.0 * known), tokens


def right_answers(probe: dict[str, Any]) -> list[str]:
    """The choices that are right; several where they say the same."""
    answer = probe.get("answer", "")
    return [answer] if isinstance(answer, str) else answer


def _sentences(texts: list[str]) -> list[str]:
    return [s.strip() for text in texts for s in _SENTENCE.split(text) if s.strip()]
