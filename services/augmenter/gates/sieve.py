"""The gates that decide from the text alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.augmenter.gates.near import NearIndex
from services.augmenter.gates.text import copies_of, fault, normalized
from services.augmenter.gates.topic import off_topic
from services.augmenter.spec import Gates, Spec
from services.augmenter.strategies.base import Document


@dataclass
class Sieve:
    """Of one derivation: it remembers what was kept."""

    gates: Gates
    copies: set[str]
    near: NearIndex | None
    kept: set[str] = field(default_factory=set)

    @classmethod
    def over(cls, documents: Iterable[Document], spec: Spec) -> "Sieve":
        """`documents`: those whose sentences count as copies."""
        gates = spec.gates
        copies = set() if gates.keep_copies else copies_of(document.text for document in documents)
        threshold = gates.near_duplicate_threshold
        return cls(gates, copies, NearIndex(threshold) if threshold else None)

    def reason_to_drop(self, statement: str, documents: Sequence[Document], confirmed: bool = True) -> str:
        """One of `REASONS`, or nothing; a kept statement is remembered.

        `documents`: those that it was derived from. `confirmed`: whether enough prompts wrote it.
        """
        if found := fault(statement, self.gates.max_characters):
            return found
        text = normalized(statement)
        if text in self.copies:
            return "copy"
        if not self.gates.keep_duplicates and text in self.kept:
            return "duplicate"
        if self.gates.on_topic and off_topic(statement, documents):
            return "off_topic"
        if not confirmed:
            return "unconfirmed"
        # Last, because what is not near to anything is remembered.
        if self.near is not None and self.near.near(statement) is not None:
            return "near_duplicate"
        self.kept.add(text)
        return ""

    def reason_to_drop_made(self, text: str) -> str:
        """The same of a text that a rule made: it may look like anything, and repeat a document."""
        same = normalized(text)
        if not same:
            return "empty"
        if not self.gates.keep_duplicates and same in self.kept:
            return "duplicate"
        self.kept.add(same)
        return ""
