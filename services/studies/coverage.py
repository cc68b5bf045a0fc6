"""Which probes were answered word for word by the augmented rows, and how each method did on those and the others. Pure.

A covered probe tests whether training made the model know what it wrote itself; an uncovered one whether it
generalises beyond that.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servicekit.clusters import share
from services.studies.statistics import Answers

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Split:
    """Accuracy over the probes of one side, all kinds together and apart."""

    n: int
    accuracy: float | None
    stderr: float | None
    ci95: tuple[float, float] | None
    kinds: Mapping[str, Mapping[str, float]]


def normalised(text: str) -> str:
    """Lower case, words only, one space between, a space at both ends so that words match whole."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def covered_probes(
    probes: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]], group_key: str = ""
) -> set[str]:
    """Ids of the probes whose answer stands in one of the rows of their group."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(_group(row, group_key), []).append(normalised(str(row.get("text", ""))))
    joined = {group: "\n".join(lines) for group, lines in texts.items()}
    covered = set()
    for probe in probes:
        group = _group(probe, group_key)
        if "answers" in probe:
            wanted = [normalised(str(answer)) for answer in probe["answers"]]
            found = any(all(answer in line for answer in wanted) for line in texts.get(group, ()))
        else:
            # Statements never cross a row: rows are parted by a newline, which no normalised text has.
            found = any(normalised(statement) in joined.get(group, "") for statement in statements(probe))
        if found:
            covered.add(str(probe["id"]))
    return covered


def statements(probe: Mapping[str, Any]) -> list[str]:
    """The prompt with each right choice after it. `answer` is a choice, its number, or a list of such."""
    answers = probe["answer"] if isinstance(probe["answer"], list) else [probe["answer"]]
    choices = probe["choices"]
    right = [choices[a] if isinstance(a, int) and not isinstance(a, bool) else a for a in answers]
    return [f"{probe['prompt']} {choice}" for choice in right]


def split(answers: Answers, ids: set[str], inside: bool) -> Split:
    """The answers whose probe is in `ids` (or is not)."""
    chosen = answers.where(np.array([(id in ids) == inside for id in answers.ids], dtype=bool))
    if not len(chosen.ids):
        return Split(0, None, None, None, {})
    found = share(chosen.values, chosen.clusters)
    kinds = {}
    for kind in dict.fromkeys(chosen.kinds):
        of_kind = chosen.where(np.array([k == kind for k in chosen.kinds], dtype=bool))
        kinds[kind] = {"accuracy": float(of_kind.values.mean()), "n": len(of_kind.ids)}
    return Split(found.n, found.value, found.stderr, (found.low, found.high), kinds)


def groups(rows: Sequence[Mapping[str, Any]], group_key: str) -> list[str]:
    """Each row's group; empty without a key."""
    return [_group(row, group_key) for row in rows]


def _group(row: Mapping[str, Any], group_key: str) -> str:
    metadata: Mapping[str, Any] = row.get("metadata") or {}
    return str(metadata.get(group_key, "")) if group_key else ""
