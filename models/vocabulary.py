"""The words that get a token of their own, and a check that the worlds' texts need no others."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

from episodes import draw
from writer import STOP

from ingrain.worlds.names import PRETRAIN, pool

WORDS = Path(__file__).with_name("words.txt")


def words() -> list[str]:
    """The words of `words.txt`: all of the episodes' words, and common English ones.

    The list is kept in a file because a trained model is bound to it.
    """
    return WORDS.read_text().split()


def used(samples: int = 20_000, seed: str = "vocabulary") -> list[str]:
    """Words that at least four of many drawn episodes share, invented names left out."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in range(samples):
        counts.update(set(re.findall(r"[A-Za-z]+", draw(rng, 6).text.replace(STOP, ""))))
    names = set(pool(PRETRAIN))
    return sorted(word for word, n in counts.items() if n >= 4 and word not in names)
