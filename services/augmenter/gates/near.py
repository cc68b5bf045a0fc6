"""Near duplicates: candidates by MinHash, decided by the exact similarity, so that a threshold means what it says.

Similar are texts that share word 3-grams: their number over the number of all 3-grams of both (Jaccard). A pair at the
threshold is found with a probability of at least 0.999; nothing below it ever counts.
"""

import re
from collections.abc import Sequence

from rensa import RMinHash, RMinHashLSH

_WORD = re.compile(r"\w+")
GRAM = 3
PERMUTATIONS = 128
SEED = 1
FOUND = 0.999  # least probability that a pair at the threshold becomes a candidate
BATCH = 4096  # sketches that are made in one call


class NearIndex:
    """The texts kept so far."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: above 0, at most 1."""
        self.threshold = threshold
        self._lsh = RMinHashLSH(threshold, PERMUTATIONS, bands(threshold))
        self._kept: list[frozenset[str]] = []

    def near(self, text: str) -> int | None:
        """The number of the first kept text that it is near to; where there is none it is kept."""
        grams = word_grams(text)
        return self._look_up(grams, sketches([grams])[0])

    def _look_up(self, grams: frozenset[str], sketch: RMinHash) -> int | None:
        for number in sorted(self._lsh.query(sketch)):
            if similarity(grams, self._kept[number]) >= self.threshold:
                return int(number)
        self._lsh.insert(len(self._kept), sketch)
        self._kept.append(grams)
        return None

    def near_all(self, texts: Sequence[str]) -> list[int | None]:
        """`near` of each in order, quicker than one by one."""
        found = []
        for start in range(0, len(texts), BATCH):
            grams = [word_grams(text) for text in texts[start : start + BATCH]]
            found += [self._look_up(*each) for each in zip(grams, sketches(grams), strict=True)]
        return found


def near_duplicates(texts: Sequence[str], threshold: float) -> list[int | None]:
    """For each text the place of the first one before it that is kept and as similar as `threshold`; None: it is kept."""
    index = NearIndex(threshold)
    places: list[int] = []  # of the kept ones
    found: list[int | None] = []
    for place, number in enumerate(index.near_all(texts)):
        if number is None:
            places.append(place)
            found.append(None)
        else:
            found.append(places[number])
    return found


def word_grams(text: str) -> frozenset[str]:
    """Three words in a row, case and punctuation aside; a shorter text is one by itself."""
    words = _WORD.findall(text.casefold())
    if len(words) <= GRAM:
        return frozenset([" ".join(words)])
    return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def sketches(grams: Sequence[frozenset[str]]) -> list[RMinHash]:
    return list(RMinHash.from_token_sets([sorted(each) for each in grams], PERMUTATIONS, SEED))


def bands(threshold: float) -> int:
    """As few as find a pair at the threshold as surely as FOUND says: few bands bring few candidates."""
    count = 1
    while count < PERMUTATIONS and _found(threshold, count) < FOUND:
        count *= 2
    return count


def _found(similarity: float, count: int) -> float:
    return 1 - (1 - similarity ** (PERMUTATIONS // count)) ** count
