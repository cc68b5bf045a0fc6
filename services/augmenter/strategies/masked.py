"""Without a model: a document with words masked, then the whole of it (masked fine-tuning, Pan et al., 2510.09885)."""

import random
import re
from collections.abc import Iterator, Sequence

from services.augmenter.strategies.base import ONE_DOCUMENT, Derived, Document, Strategy

MASK = "[masked]"
SHARES = (0.05, 0.95)  # of the words, drawn evenly for each row
_WORD = re.compile(r"\S+")


def rows(documents: Sequence[Document], seed: int, sample: int) -> Iterator[Derived]:
    """One for each document and sample; none for a document of one word. What is masked depends on seed, sample and text."""
    for document in documents:
        hidden = masked(document.text, random.Random(f"{seed}-{sample}-{document.text}"))
        if hidden:
            yield Derived(f"{hidden}\n\n{document.text}", (document,))


def masked(text: str, draw: random.Random) -> str:
    """The text with a mask for each run of masked words, at least one masked and at least one not; empty for a single word."""
    words = list(_WORD.finditer(text))
    if len(words) < 2:
        return ""
    count = min(len(words) - 1, max(1, round(draw.uniform(*SHARES) * len(words))))
    chosen = set(draw.sample(range(len(words)), count))
    parts: list[str] = []
    end = 0
    for number, word in enumerate(words):
        if number in chosen:
            if number - 1 not in chosen:
                parts += [text[end : word.start()], MASK]
        else:
            parts += [text[end : word.start()], word[0]]
        end = word.end()
    return "".join([*parts, text[end:]])


strategy = Strategy("masked", ONE_DOCUMENT, rows=rows, source="Pan et al. 2025, 2510.09885", cost="no prompt")
