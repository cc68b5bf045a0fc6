"""A worker: datasketch's MinHash and LSH, in an environment of its own. Candidates are decided by exact similarity, as ours are."""

from typing import Any

from datasketch import MinHash, MinHashLSH

from benchmarks.augmentation.planted import THRESHOLD, recall, similarity, texts, word_grams
from benchmarks.inference.contender import work

PERMUTATIONS = 128


class Near:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._near: dict[int, int] = {}

    def make(self, count: int, seed: int) -> None:
        self._texts, self._near = texts(count, seed)

    def find(self, bands: int) -> dict[str, Any]:
        """`bands`: how many; 0: as the library chooses for the threshold."""
        params = (bands, PERMUTATIONS // bands) if bands else None
        lsh = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, params=params)
        grams = [word_grams(text) for text in self._texts]
        sketches = MinHash.bulk([[gram.encode() for gram in one] for one in grams], num_perm=PERMUTATIONS)
        found: list[int | None] = []
        for number, sketch in enumerate(sketches):
            near = sorted(lsh.query(sketch))
            first = next((n for n in near if similarity(grams[number], grams[n]) >= THRESHOLD), None)
            if first is None:
                lsh.insert(number, sketch)
            found.append(first)
        return {"recall": recall(found, self._near), "found": sum(one is not None for one in found)}


if __name__ == "__main__":
    near = Near()
    work({"make": near.make, "find": near.find})
