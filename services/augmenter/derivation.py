"""Outputs -> statements -> rows: what was kept and dropped of one derivation, with counts and examples. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.augmenter.dose import Dose, taking_order
from services.augmenter.gates import Sieve, agreement, normalized
from services.augmenter.parsing import parsed
from services.augmenter.planning import Planned
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document

MOST_EXAMPLES = 3  # of each reason
EXAMPLE_CHARACTERS = 500
SPAN_KEYS = ("source", "start", "end")  # metadata of rows that are parts of longer documents


@dataclass(frozen=True)
class Statement:
    """`agreeing`: how many prompts of its group wrote it."""

    text: str
    item: Planned
    agreeing: int

    @property
    def read(self) -> tuple[Document, ...]:
        """The documents that its prompt named or held."""
        by_id = {document.id: document for document in (*self.item.ask.read, *self.item.ask.documents)}
        return tuple(by_id.values())


@dataclass
class Derivation:
    """`model` and `model_sha256` are empty where no model writes."""

    spec: Spec
    model: str
    model_sha256: str
    sieve: Sieve
    dose: Dose
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    _written: list[tuple[str, str, list[str]]] = field(default_factory=list)
    _round: int = 0

    def sifted(self, items: Sequence[Planned], outputs: Sequence[str]) -> list[Statement]:
        """What passes the gates of text in a round, in the order in which it is to be kept."""
        found = [parsed(item, output) for item, output in zip(items, outputs, strict=True)]
        for item, output, statements in zip(items, outputs, found, strict=True):
            if not statements:
                self.drop("unparsable", output)
            self._written.append((group_of(item), f"{item.strategy}: {item.ask.prompt}", statements))
        agreed = agreement(self._written)
        left = []
        order = taking_order(len(items), self.spec.target_tokens, self.spec.seed, self._round)
        self._round += 1
        for index in order:
            for text in found[index]:
                agreeing = agreed[group_of(items[index]), normalized(text)]
                statement = Statement(text, items[index], agreeing)
                if reason := self._reason_to_drop(statement):
                    self.drop(reason, text)
                else:
                    left.append(statement)
        return left

    def _reason_to_drop(self, statement: Statement) -> str:
        ask = statement.item.ask
        if statement.item.text is not None:  # made by a rule: it need not look like a sentence
            return self.sieve.reason_to_drop_made(statement.text)
        needed = self.spec.min_agreement if ask.sees_several else 1
        return self.sieve.reason_to_drop(statement.text, statement.read, statement.agreeing >= needed)

    def drop(self, reason: str, text: str) -> None:
        self.dropped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(text[:EXAMPLE_CHARACTERS])

    def keep(self, statement: Statement, tokens: int, verdicts: dict[str, Any]) -> None:
        """As a row, unless the rows before it hold enough."""
        if not self.dose.take(tokens):
            self.drop("beyond_target", statement.text)
            return
        self.kept[statement.item.strategy] += 1
        self.rows.append(self._row(statement, verdicts))

    def _row(self, statement: Statement, verdicts: dict[str, Any]) -> dict[str, Any]:
        item, spec = statement.item, self.spec
        metadata: dict[str, Any] = {"strategy": item.strategy}
        if spec.group_key:
            metadata[spec.group_key] = group_of(item)
        prompt = spec.prompt(item.strategy)
        made = item.text is not None
        provenance = {
            "source_rows": [document.id for document in item.ask.documents],
            "strategy": item.strategy,
            "prompt_set": prompt.prompt_set,
            "prompt_sha256": prompt.sha256,
            "model": "" if made else self.model,
            "model_sha256": "" if made else self.model_sha256,
            "temperature": spec.temperature,
            "max_tokens": spec.max_tokens,
            "seed": spec.seed,
            "sample": item.sample,
            "shuffled": spec.shuffled,
            "agreement": statement.agreeing,
        }
        if spans := list(spans_of(item.ask.documents)):
            provenance["spans"] = spans
        if item.ask.read:
            provenance["read_rows"] = [document.id for document in item.ask.read]
        if item.ask.context_group is not None:
            provenance["context_group"] = item.ask.context_group
        if verdicts:
            provenance["verdicts"] = verdicts
        return {
            "id": f"{item.strategy}-{item.number:06d}-{self.kept[item.strategy]:06d}",
            "text": statement.text,
            "metadata": metadata,
            "provenance": provenance,
        }


def group_of(item: Planned) -> str:
    return item.ask.documents[0].group


def spans_of(documents: Sequence[Document]) -> Iterator[dict[str, Any]]:
    """Where in longer documents the sources stand, as far as they say it."""
    for document in documents:
        if all(key in document.metadata for key in SPAN_KEYS):
            yield {"row": document.id, **{key: document.metadata[key] for key in SPAN_KEYS}}
