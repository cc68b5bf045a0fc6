"""How much is derived: rounds of samples until kept rows hold enough tokens, and copies of the documents. Pure."""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.augmenter.custom import COPIES
from services.augmenter.planning import Planned

ORIGINAL = COPIES


def rounds(planned: Sequence[Planned], target_tokens: int) -> Iterator[list[Planned]]:
    """Everything at once; with a target sample 0 of each prompt, then sample 1 of each, and so on."""
    if not target_tokens:
        yield list(planned)
        return
    for sample in sorted({item.sample for item in planned}):
        yield [item for item in planned if item.sample == sample]


@dataclass
class Dose:
    """Tokens of kept rows against what is wanted; a target of 0 takes everything."""

    target_tokens: int
    held_tokens: int = 0

    @property
    def full(self) -> bool:
        return 0 < self.target_tokens <= self.held_tokens

    def take(self, tokens: int) -> bool:
        """Whether a row of so many is kept. The row that reaches the target is."""
        if self.full:
            return False
        self.held_tokens += tokens
        return True


def taking_order(count: int, target_tokens: int, seed: int, round_number: int) -> list[int]:
    """In which order the statements of a round are taken: as they are, and with a target by lot, so that it cuts no
    strategy and no document off."""
    order = list(range(count))
    if target_tokens:
        random.Random(f"{seed}-{round_number}").shuffle(order)
    return order


async def originals(lines: AsyncIterator[dict[str, Any]], copies: int) -> AsyncIterator[dict[str, Any]]:
    """Each document `copies` times, as a row that says of which it is a copy."""
    async for row in lines:
        for copy in range(copies):
            yield {
                "id": f"{ORIGINAL}-{row['id']}-{copy}",
                "text": row["text"],
                "metadata": {**(row.get("metadata") or {}), "strategy": ORIGINAL},
                "provenance": {"source_rows": [row["id"]], "strategy": ORIGINAL, "copy": copy},
            }
