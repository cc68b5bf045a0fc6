"""Rows of a PROBES dataset as values."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from servicekit.errors import Invalid

QUESTION = "Question: {question}\nAnswer:"
TEXT = "text"  # the kind of documents that name none


@dataclass(frozen=True)
class Probe:
    """A forced choice has `prompt`, `choices` and the indices of right ones; a question has `answers`; a text `windows`.

    `prompt` is what the model reads, `question` a question as it stands in the row. The answers of a question are
    members of one list where `is_list`, else one answer that is matched as a whole. Windows are the text itself, in
    pieces that a model can read.
    """

    id: str
    kind: str
    prompt: str
    choices: tuple[str, ...]
    right: frozenset[int]
    answers: tuple[str, ...]
    metadata: dict[str, Any]
    question: str = ""
    is_list: bool = False
    windows: tuple[str, ...] = ()

    @property
    def is_choice(self) -> bool:
        return bool(self.choices)

    @property
    def is_text(self) -> bool:
        return bool(self.windows)

    @property
    def is_written(self) -> bool:
        """Whether the model writes an answer."""
        return not self.choices and not self.windows

    @property
    def text(self) -> str:
        """All that is read for it: the prompt once, and every choice."""
        return "".join(self.windows) or " ".join([self.prompt, *self.choices])

    @property
    def size_bytes(self) -> int:
        return len(self.text.encode())

    def value_of(self, key: str) -> str:
        return str(self.metadata.get(key, ""))

    @property
    def sources(self) -> list[str]:
        """Ids of the documents that it follows from; empty where the row does not say."""
        named = self.metadata.get("sources")
        return [str(id) for id in named] if isinstance(named, list) else []

    def cluster(self, key: str) -> str:
        """What it stands or falls with: the value of the key; without a key the first document that it follows from.
        A probe that has neither stands for itself."""
        named = self.value_of(key) if key else next(iter(self.sources), "")
        return named or self.id


def probes_of(rows: Iterable[dict[str, Any]], question_template: str = "") -> list[Probe]:
    """In order. What is measured is the same for all probes of a kind: one with several answers makes it a list."""
    probes = [probe_of(row, question_template) for row in rows]
    is_choice: dict[str, bool] = {}
    for index, probe in enumerate(probes):
        if is_choice.setdefault(probe.kind, probe.is_choice) != probe.is_choice:
            raise Invalid(
                "MIXED_KIND",
                f"probe {probe.id!r} (row {index + 1}): some probes of kind {probe.kind!r} have choices, others are "
                "questions; give them kinds of their own",
                field=f"rows[{index}].kind",
                row=index + 1,
            )
    lists = {probe.kind for probe in probes if len(probe.answers) > 1} | {"list"}
    return [replace(probe, is_list=probe.kind in lists and not probe.is_choice) for probe in probes]


def probe_of(row: dict[str, Any], question_template: str = "") -> Probe:
    metadata = row.get("metadata") or {}
    if "question" in row:
        asked = (question_template or QUESTION).replace("{question}", row["question"])
        return Probe(
            row["id"], row["kind"], asked, (), frozenset(), tuple(row["answers"]), metadata, row["question"]
        )
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    choices = tuple(row["choices"])
    right = frozenset(choices.index(answer) for answer in answers)
    return Probe(row["id"], row["kind"], row["prompt"], choices, right, (), metadata)


def written(probe: Probe) -> Probe:
    """A forced choice as a question: the prompt as it is, any of the right choices is the answer."""
    if not probe.is_choice:
        return probe
    answers = tuple(probe.choices[index] for index in sorted(probe.right))
    return replace(probe, choices=(), right=frozenset(), answers=answers, question=probe.prompt)


def text_of(row: dict[str, Any]) -> Probe:
    """A document as one window."""
    metadata = row.get("metadata") or {}
    kind = str(metadata.get("kind") or TEXT)
    return Probe(row["id"], kind, "", (), frozenset(), (), metadata, windows=(row["text"],))
