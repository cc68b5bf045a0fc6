"""Whether a checkpoint can be asked at all, and how it reads the documents, before anything is paid for."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingrain import Client, errors
from ingrain.v1 import trainer_pb2

# Of ordinary checkpoints: English 1.2 to 1.6, other written languages to about 3; above, words fall apart into letters.
MANY_TOKENS_PER_WORD = 3.5
_TEXTS_PER_CALL = 1000


@dataclass(frozen=True)
class Preflight:
    """`first_answer_seconds`: loading the weights included."""

    word_count: int
    token_count: int
    context_window: int
    first_answer_seconds: float

    @property
    def tokens_per_word(self) -> float:
        return self.token_count / max(1, self.word_count)

    def lines(self) -> list[str]:
        """What a person should know before the estimate."""
        told = [
            f"The checkpoint loads and answers ({self.first_answer_seconds:.1f} s to the first token).",
            f"The documents are {self.word_count:,} words, {self.token_count:,} tokens "
            f"({self.tokens_per_word:.1f} for a word); the window is {self.context_window:,} tokens.",
        ]
        if self.tokens_per_word > MANY_TOKENS_PER_WORD:
            told.append(
                "So many tokens for a word say that the checkpoint was not made for this language: expect poor answers "
                "of every method."
            )
        return told

    def to_dict(self) -> dict[str, float]:
        return {
            "word_count": self.word_count,
            "token_count": self.token_count,
            "tokens_per_word": round(self.tokens_per_word, 3),
            "context_window": self.context_window,
            "first_answer_seconds": round(self.first_answer_seconds, 1),
        }


def preflight(client: Client, model: trainer_pb2.Model, rows: Sequence[Mapping[str, Any]]) -> Preflight:
    """Asks for one token and counts those of the documents. Raises what the platform says of a checkpoint that it cannot
    load, and Invalid where no row holds text."""
    texts = [text for row in rows if (text := row.get("text", ""))]
    if not texts:
        raise errors.Invalid("no document has a `text`", reason="DATASET_EMPTY")
    started = time.monotonic()
    client.generate(model.name, texts[0].split()[:1] or texts[:1], max_tokens=1)
    took = time.monotonic() - started
    parts = [texts[at : at + _TEXTS_PER_CALL] for at in range(0, len(texts), _TEXTS_PER_CALL)]
    return Preflight(
        word_count=sum(len(text.split()) for text in texts),
        token_count=sum(sum(client.count_tokens(model.name, part)) for part in parts),
        context_window=model.context_window,
        first_answer_seconds=took,
    )
