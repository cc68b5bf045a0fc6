"""Invented names, in two pools that share no name.

A name has two parts, each one token of the bundled model: consonant(s) and a vowel, then a
consonant, a vowel and perhaps a consonant (`bo` + `nik`, `tra` + `fem`). The second part starts at
the first vowel's end, so the split is unique. A name belongs to the pool that its hash says, so
the pools never mix, whatever code draws from them.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache

from .deny import ENGLISH

VOWELS = "aeiou"
_CLUSTERS = "bl br cl cr dr fl fr gl gr kl pl pr sk sl sn sp st tr vr zw"
ONSETS = (*"bcdfghjklmnprstvwz", *_CLUSTERS.split())
MIDDLES = "bdfgklmnprstvz"
CODAS = "klmnprstx"

FIRST_PARTS = tuple(onset + vowel for onset in ONSETS for vowel in VOWELS)
_OPEN = tuple(consonant + vowel for consonant in MIDDLES for vowel in VOWELS)
# Two codas per open syllable, rotated, keep the number of second parts near that of first parts.
_CLOSED = tuple(
    syllable + CODAS[(2 * i + shift) % len(CODAS)] for i, syllable in enumerate(_OPEN) for shift in (0, 5)
)
# The last three make the names that the documentation uses: bonik, trafem, zelup.
SECOND_PARTS = tuple(dict.fromkeys(_OPEN + _CLOSED + ("nik", "fem", "lup")))

LONGEST = 6  # letters of a name

PRETRAIN = "pretrain"
BENCHMARK = "benchmark"


def pool_of(name: str) -> str:
    """The pool of a name: one name in five is kept for benchmarks."""
    digest = hashlib.sha256(name.encode()).digest()
    return BENCHMARK if digest[0] % 5 == 0 else PRETRAIN


@cache
def pool(which: str = BENCHMARK) -> tuple[str, ...]:
    """All names of a pool, sorted. Real English words are left out."""
    names = (first + second for first in FIRST_PARTS for second in SECOND_PARTS)
    return tuple(sorted({n for n in names if n not in ENGLISH and pool_of(n) == which}))


@cache
def short_pool(which: str, longest: int) -> tuple[str, ...]:
    """The names of a pool that have at most so many letters."""
    return tuple(name for name in pool(which) if len(name) <= longest)


class NameSource:
    """Draws names without ever repeating one; none is longer than `longest` letters."""

    def __init__(self, rng: random.Random, which: str = BENCHMARK, longest: int = LONGEST) -> None:
        self._rng = rng
        self._pool = short_pool(which, longest) if longest < LONGEST else pool(which)
        self._used: set[str] = set()

    def draw(self) -> str:
        if len(self._used) >= len(self._pool) // 2:
            raise ValueError(f"more than {len(self._used)} names asked for: the pool is too small")
        while True:
            name = self._pool[int(self._rng.random() * len(self._pool))]
            if name not in self._used:
                self._used.add(name)
                return name

    def take(self, count: int) -> list[str]:
        return [self.draw() for _ in range(count)]
