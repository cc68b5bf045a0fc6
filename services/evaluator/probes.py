"""Rows of a PROBES dataset as values."""

from dataclasses import dataclass
from typing import Any

QUESTION = "Question: {question}\nAnswer:"


@dataclass(frozen=True)
class Probe:
    """A forced choice has `prompt`, `choices` and the indices of right ones; a question has `answers`."""

    id: str
    kind: str
    prompt: str
    choices: tuple[str, ...]
    right: frozenset[int]
    answers: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def is_choice(self) -> bool:
        return bool(self.choices)

    @property
    def is_list(self) -> bool:
        """Several answers are members of one list; a single one is matched as a whole."""
        return self.kind == "list" or len(self.answers) > 1

    def value_of(self, key: str) -> str:
        return str(self.metadata.get(key, ""))


def probe_of(row: dict[str, Any], question_template: str = "") -> Probe:
    metadata = row.get("metadata") or {}
    if "question" in row:
        asked = (question_template or QUESTION).replace("{question}", row["question"])
        return Probe(row["id"], row["kind"], asked, (), frozenset(), tuple(row["answers"]), metadata)
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    choices = tuple(row["choices"])
    right = frozenset(choices.index(answer) for answer in answers)
    return Probe(row["id"], row["kind"], row["prompt"], choices, right, (), metadata)
