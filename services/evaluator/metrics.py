"""Answers in, numbers out. Names are lm-evaluation-harness's where it has one.

acc          the choice with the greatest sum of log-probabilities is right
acc_norm     the same by the mean per token
exact_match  the written answer is the right one, but for case, spaces and the last full stop
precision, recall, f1, set_match   of a written list against the right members
"""

import re
from collections.abc import Collection, Sequence

_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
_SEPARATOR = re.compile(r"\s*(?:,|;|\n|\band\b)\s*")
HEADLINE = {"choice": "acc", "answer": "exact_match", "list": "f1"}


def forced_choice(sums: Sequence[float], means: Sequence[float], right: Collection[int]) -> dict[str, float]:
    """`acc` and `acc_norm`. A tie for the first place counts as the share of right choices in it: a guess among them."""
    return {"acc": _first_is_right(sums, right), "acc_norm": _first_is_right(means, right)}


def _first_is_right(scores: Sequence[float], right: Collection[int]) -> float:
    best = max(scores)
    first = [index for index, score in enumerate(scores) if score == best]
    return sum(index in right for index in first) / len(first)


def exact_match(answer: str, right: Sequence[str]) -> dict[str, float]:
    return {"exact_match": float(normalized(answer) in {normalized(text) for text in right})}


def list_match(answer: str, right: Sequence[str]) -> dict[str, float]:
    """Of the set of members; an empty answer has precision 0."""
    given, wanted = set(members(answer)), {normalized(text) for text in right}
    hits = len(given & wanted)
    precision = hits / len(given) if given else 0.0
    recall = hits / len(wanted)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "set_match": float(given == wanted)}


def members(answer: str) -> list[str]:
    """Items of `a, b and c.` or of lines with bullets."""
    text = "\n".join(_BULLET.sub("", line) for line in answer.strip().splitlines())
    return [item for item in map(normalized, _SEPARATOR.split(text)) if item]


def normalized(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .")


def chance(choice_count: int, right_count: int) -> float:
    """Expected accuracy of a guess."""
    return right_count / choice_count
