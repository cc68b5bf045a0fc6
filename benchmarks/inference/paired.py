"""Turns and their ratios."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """Median over pairs, a 95 % bootstrap interval of it, the smallest and largest."""

    median: float
    low: float
    high: float
    least: float
    most: float
    count: int

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g}, {self.count} pairs)"


def ratio(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Ratio:
    """Of (ours, theirs) in seconds: how many times longer theirs takes."""
    found = [theirs / ours for ours, theirs in pairs]
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(found, k=len(found))) for _ in range(RESAMPLES))
    low, high = medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]
    return Ratio(statistics.median(found), low, high, min(found), max(found), len(found))


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], count: int) -> list[tuple[float, float]]:
    """`count` pairs of what the two return, in the order A B B A A B ..."""
    pairs = []
    for number in range(count):
        if number % 2:
            second, first = theirs(), ours()
        else:
            first, second = ours(), theirs()
        pairs.append((first, second))
    return pairs
