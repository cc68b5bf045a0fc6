"""The shape of a world: documents, and probes of what follows from them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Documents and probes as the rows that the platform takes.

    A document is `{"id", "text", "metadata"}`; a probe is `{"id", "kind", "prompt", "choices",
    "answer", "metadata"}` (the answer is one choice, or a list of equally right ones) or, for kind
    `list`, `{"id", "kind", "question", "answers", "metadata"}`. `metadata.world` tells apart the
    worlds of a suite; a context holds one of them.
    """

    name: str
    documents: list[Row] = field(default_factory=list)
    probes: list[Row] = field(default_factory=list)

    def document(self, text: str, facts: list[int]) -> None:
        """Add a document that says the facts with these numbers."""
        self.documents.append(
            {
                "id": f"{self.name}-d{len(self.documents)}",
                "text": text,
                "metadata": {"world": self.name, "fact": ",".join(map(str, facts))},
            }
        )

    def choice(self, kind: str, prompt: str, choices: list[str], answer: str | list[str], fact: int) -> None:
        """Add a forced-choice probe; choices carry no leading space."""
        self.probes.append(
            {
                "id": f"{self.name}-{kind}-{len(self.probes)}",
                "kind": kind,
                "prompt": prompt,
                "choices": choices,
                "answer": answer,
                "metadata": {"world": self.name, "fact": str(fact)},
            }
        )

    def listing(self, question: str, answers: list[str], facts: list[int]) -> None:
        """Add a question whose answer is a set of names."""
        self.probes.append(
            {
                "id": f"{self.name}-list-{len(self.probes)}",
                "kind": "list",
                "question": question,
                "answers": answers,
                "metadata": {"world": self.name, "fact": ",".join(map(str, facts))},
            }
        )


def world_random(generator: str, seed: int) -> random.Random:
    """Randomness of a world. The prefix keeps its seeds apart from those of pretraining."""
    return random.Random(f"world/{generator}/{seed}")


def one_of(rng: random.Random, right: str, wrong: list[str]) -> list[str]:
    """The right choice among the wrong ones, in random order."""
    choices = [right, *wrong]
    rng.shuffle(choices)
    return choices
