"""Written answers against the right ones: exact match, words in common, lists as sets.

Pure, and of the standard library alone: `client.evaluations.export_lm_eval` puts this file beside the tasks that it
writes, so that lm-evaluation-harness counts as the platform does.

exact_match                        the answer is one of the right ones, both normalised
f1 (of an answer)                  words in common with the right answer that shares most, as in SQuAD (2016)
precision, recall, f1, set_match   of a list's members, as sets, against the right members
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
_SEPARATOR = re.compile(r"\s*(?:,|;|\n|\band\b)\s*")
_ARTICLES = frozenset(["a", "an", "the"])


def normalized(text: str) -> str:
    """SQuAD's normalisation: small letters, no punctuation, no English articles, single spaces.

    Unlike SQuAD's it keeps the marks of a number (`1.5` is not `15`, `-3` is not `3`), takes every script's
    punctuation away, and leaves a text that would vanish (the answer `A`) as it is, in small letters.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(character for index, character in enumerate(text) if _stays(text, index))
    words = [word for word in kept.split() if word not in _ARTICLES]
    return " ".join(words or text.split())


def _stays(text: str, index: int) -> bool:
    character = text[index]
    if unicodedata.category(character)[0] != "P" and character not in "$+<=>^`|~":
        return True
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if not after.isdigit():
        return False
    return before.isdigit() or (character in "-+." and not before.isalnum())


def answer_match(answer: str, right: Sequence[str]) -> dict[str, float]:
    """`exact_match` and `f1` of the words, each against the right answer that fits best."""
    given = normalized(answer)
    wanted = [normalized(text) for text in right]
    return {
        "exact_match": float(given in wanted),
        "f1": max(_words_f1(given.split(), text.split()) for text in wanted),
    }


def _words_f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    shared = (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted)) if shared else 0.0


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


def process_answer(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """lm-evaluation-harness's hook: the metrics of one written answer."""
    return answer_match(results[0].strip(), doc["answers"])


def process_list(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """lm-evaluation-harness's hook: the metrics of one written list."""
    return list_match(results[0].strip(), doc["answers"])
