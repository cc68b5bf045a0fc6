"""Dataset rows -> token sequences with labels, and what becomes of rows that are too long or teach nothing."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servicekit.errors import Invalid
from services.trainer.config import DataSummary
from services.trainer.encoding import encode
from services.trainer.packing import IGNORED, TokenSequence
from services.trainer.rendering import Draft, Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What is tokenised at once.
BATCH_ROWS = 1000
BATCH_CHARACTERS = 4_000_000


@dataclass
class LostRows:
    """How many training rows were read, and how many of them are not learned as they are; each lost one has one reason."""

    read: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)  # of each reason the first

    def add(self, reason: str, example: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.examples.setdefault(reason, example)

    def count(self, reason: str) -> int:
        return self.counts.get(reason, 0)

    def refuse_over(self, allowed: float, max_length: int) -> None:
        """Invalid ROWS_LOST where more than the share `allowed` is lost."""
        lost = sum(self.counts.values())
        if not self.read or lost / self.read <= allowed:
            return
        told = ", ".join(
            f"{count} {reason} ({self.examples[reason]})" for reason, count in self.counts.items()
        )
        raise Invalid(
            "ROWS_LOST",
            f"{lost} of {self.read} training rows would be lost, more than max_lost_row_ratio {allowed:g} allows: {told}. "
            f"Raise training.max_length {max_length}, split the rows (splitting SENTENCE for documents), leave the named rows out "
            "of the data, or allow more with training.max_lost_row_ratio.",
            field="training.max_lost_row_ratio",
            row_count=self.read,
            **{f"{reason}_row_count": count for reason, count in self.counts.items()},
        )


def lost_rows_note(summary: DataSummary) -> str:
    """A sentence for people; empty where no row is lost."""
    told = [
        f"{count} {what}"
        for count, what in (
            (summary.truncated_row_count, "truncated to max_length"),
            (summary.dropped_row_count, "left out because longer than max_length"),
            (summary.masked_row_count, "left out because no token of theirs is learned"),
        )
        if count
    ]
    return f"Rows that are not learned whole: {', '.join(told)}." if told else ""


class RowReader:
    """Turns the rows of one dataset into sequences for one tokenizer."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        dataset: str,
        splitting: str,
        train_on_prompt: bool,
        max_length: int,
        long_rows: str = "refuse",
        lost: LostRows | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.dataset = dataset
        self.max_length = max_length
        self.long_rows = long_rows
        self.lost = lost or LostRows()
        self.renderer = Renderer(
            tokenizer, dataset=dataset, splitting=splitting, train_on_prompt=train_on_prompt
        )

    def read(self, rows: Iterable[dict[str, Any]]) -> Iterator[TokenSequence]:
        """Invalid names the dataset, the row's number (from 0) and what is wrong with it."""
        for numbers, drafts in self.batches(rows):
            for number, sequence in zip(numbers, encode(self.tokenizer, drafts), strict=True):
                kept = self.kept(number, sequence)
                if kept is not None:
                    yield dataclasses.replace(kept, row=number)

    def batches(self, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[list[int], list[Draft]]]:
        """Row numbers and drafts, as many as are tokenised at once."""
        numbers: list[int] = []
        drafts: list[Draft] = []
        characters = 0
        for number, row in enumerate(rows):
            found = self.renderer.drafts(number, row)
            numbers += [number] * len(found)
            drafts += found
            characters += sum(len(piece.text) for draft in found for piece in draft)
            if len(drafts) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield numbers, drafts
                numbers, drafts, characters = [], [], 0
        if drafts:
            yield numbers, drafts

    def kept(self, number: int, sequence: TokenSequence) -> TokenSequence | None:
        """The sequence as it is learned; None where nothing of it is. Counted in `lost`."""
        count = len(sequence.tokens)
        # A sentence that is one token has nothing before it to be predicted from; its document is learned all the same.
        if self.renderer.splitting == "cumulative" and not teaches(sequence):
            return None
        self.lost.read += 1
        example = f"row {number} of {self.dataset} has {count} tokens"
        cut = count > self.max_length
        if cut and self.long_rows == "refuse":
            raise self.too_long(number, count)
        if cut and self.long_rows == "drop":
            self.lost.add("dropped", example)
            return None
        if cut:
            sequence = TokenSequence(sequence.tokens[: self.max_length], sequence.labels[: self.max_length])
        if not teaches(sequence):
            self.lost.add(
                "masked", f"{example}, none of them learned" + (" within max_length" if cut else "")
            )
            return None
        if cut:
            self.lost.add("truncated", example)
        return sequence

    def too_long(self, number: int, count: int) -> Invalid:
        return Invalid(
            "ROW_TOO_LONG",
            f"Row {number} of {self.dataset} has {count} tokens, more than max_length {self.max_length}. "
            "Raise training.max_length, say what is to become of such rows (long_rows TRUNCATE or DROP), or split the row"
            + ("." if self.renderer.splitting == "sentence" else " (splitting SENTENCE)."),
            field=f"rows[{number}]",
            dataset=self.dataset,
            row=number,
            token_count=count,
            max_length=self.max_length,
        )


def teaches(sequence: TokenSequence) -> bool:
    """Whether any token is predicted; the first has nothing before it."""
    return sequence.labels[1:].count(IGNORED) < len(sequence.labels) - 1
