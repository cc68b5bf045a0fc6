"""A worker: the gate that drops near duplicates."""

from typing import Any

from benchmarks.augmentation.planted import THRESHOLD, recall, texts
from benchmarks.inference.contender import work
from services.augmenter.gates.near import bands, near_duplicates


class Near:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._near: dict[int, int] = {}

    def make(self, count: int, seed: int) -> int:
        """How many bands are used for this threshold."""
        self._texts, self._near = texts(count, seed)
        return bands(THRESHOLD)

    def find(self) -> dict[str, Any]:
        found = near_duplicates(self._texts, THRESHOLD)
        return {"recall": recall(found, self._near), "found": sum(one is not None for one in found)}


if __name__ == "__main__":
    near = Near()
    work({"make": near.make, "find": near.find})
