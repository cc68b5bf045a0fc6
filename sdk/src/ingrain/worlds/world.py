"""The shape of a world: documents, and probes of what follows from them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Documents and probes as the rows that the platform takes.

    A document is `{"id", "text", "metadata"}`; a probe is `{"id", "kind", "prompt", "choices",
    "answer", "metadata"}` (the answer is one choice, or a list of equally right ones) or, for kind
    `list`, `{"id", "kind", "question", "answers", "metadata"}`. `metadata.world` tells apart the
    worlds of a suite; a context holds one of them. `metadata.sources` of a probe are ids of documents
    from which together its answer follows.
    """

    name: str
    documents: list[Row] = field(default_factory=list)
    probes: list[Row] = field(default_factory=list)
    _needs: list[tuple[int, ...]] = field(default_factory=list, compare=False, repr=False)

    def document(self, text: str, facts: Iterable[int], **metadata: str) -> None:
        """Add a document that says the facts with these numbers."""
        self.documents.append(
            {
                "id": f"{self.name}-d{len(self.documents)}",
                "text": text,
                "metadata": {"world": self.name, "fact": ",".join(map(str, facts)), **metadata},
            }
        )

    def choice(
        self,
        kind: str,
        prompt: str,
        choices: list[str],
        answer: str | list[str],
        fact: int,
        *further: int,
        **metadata: str,
    ) -> None:
        """Add a forced-choice probe; choices carry no leading space. The answer follows from `fact` and `further` ones."""
        self._needs.append((fact, *further))
        self.probes.append(
            {
                "id": f"{self.name}-{kind}-{len(self.probes)}",
                "kind": kind,
                "prompt": prompt,
                "choices": choices,
                "answer": answer,
                "metadata": {"world": self.name, "fact": str(fact), **metadata},
            }
        )

    def listing(self, question: str, answers: list[str], facts: list[int]) -> None:
        """Add a question whose answer is a set of names."""
        self._needs.append(tuple(facts))
        self.probes.append(
            {
                "id": f"{self.name}-list-{len(self.probes)}",
                "kind": "list",
                "question": question,
                "answers": answers,
                "metadata": {"world": self.name, "fact": ",".join(map(str, facts))},
            }
        )

    def cited(self) -> World:
        """The world itself, every probe with the first document of each fact that it needs; once all documents are in."""
        first: dict[int, str] = {}
        for document in self.documents:
            for fact in document["metadata"]["fact"].split(","):
                first.setdefault(int(fact), document["id"])
        for probe, facts in zip(self.probes, self._needs, strict=True):
            probe["metadata"]["sources"] = list(dict.fromkeys(first[fact] for fact in facts))
        return self


def world_random(generator: str, seed: int) -> random.Random:
    """Randomness of a world. The prefix keeps its seeds apart from those of pretraining."""
    return random.Random(f"world/{generator}/{seed}")


def one_of(rng: random.Random, right: str, wrong: list[str]) -> list[str]:
    """The right choice among the wrong ones, in random order."""
    choices = [right, *wrong]
    rng.shuffle(choices)
    return choices
