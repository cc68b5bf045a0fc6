"""Which augmented rows hold a probe's question (seen) or its right answer (covered), word for word. Pure.

Whoever writes the rows sees no probe. Rows that answer one are what augmentation is for; this says how many there are.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingrain.v1 import studies_pb2
from services.studies.coverage import groups, normalised, statements

# A prompt of fewer words begins many a sentence: it is the question only together with one of its choices.
LEAST_QUESTION_WORDS = 5

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Labels:
    """By the row's place: the first probe that it holds the question, or the right answer, of."""

    seen: Mapping[int, str]
    covered: Mapping[int, str]

    def excluded(self, exclusion: studies_pb2.Exclusion) -> set[int]:
        """The places of the rows that are not to be trained on."""
        seen = set(self.seen) if exclusion.seen else set()
        return seen | (set(self.covered) if exclusion.covered else set())


def labelled(probes: Sequence[Row], rows: Sequence[Row], group_key: str = "") -> Labels:
    """A row and a probe of different groups have nothing to do with one another."""
    texts = _by_group(rows, group_key)
    seen: dict[int, str] = {}
    covered: dict[int, str] = {}
    for probe, group in zip(probes, groups(probes, group_key), strict=True):
        if group not in texts:
            continue
        for found, places in ((seen, _questions(probe)), (covered, _answers(probe))):
            for needles in places:
                for place in texts[group].holding(needles):
                    found.setdefault(place, str(probe["id"]))
    return Labels(dict(sorted(seen.items())), dict(sorted(covered.items())))


def left(rows: Sequence[Row], excluded: set[int]) -> list[Row]:
    """Those that are trained on."""
    return [row for place, row in enumerate(rows) if place not in excluded]


def _questions(probe: Row) -> Iterator[list[str]]:
    """What must stand in a row for it to hold the question, one way after the other."""
    if "choices" not in probe:
        yield [str(probe["question"])]
        return
    prompt = str(probe["prompt"])
    if len(normalised(prompt).split()) >= LEAST_QUESTION_WORDS:
        yield [prompt]
    else:
        yield from ([f"{prompt} {choice}"] for choice in probe["choices"])


def _answers(probe: Row) -> Iterator[list[str]]:
    if "choices" not in probe:
        yield [str(answer) for answer in probe["answers"]]
    else:
        yield from ([statement] for statement in statements(probe))


def _by_group(rows: Sequence[Row], group_key: str) -> dict[str, "_Texts"]:
    inside: dict[str, list[tuple[int, str]]] = {}
    for place, (row, group) in enumerate(zip(rows, groups(rows, group_key), strict=True)):
        inside.setdefault(group, []).append((place, normalised(str(row.get("text", "")))))
    return {group: _Texts(entries) for group, entries in inside.items()}


class _Texts:
    """The rows of a group as one text, parted by newlines, which no normalised text has."""

    def __init__(self, entries: Iterable[tuple[int, str]]) -> None:
        self._places, lines = zip(*entries, strict=True)
        self._joined = "\n".join(lines)
        self._starts = [0]
        for line in lines[:-1]:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def holding(self, needles: Sequence[str]) -> set[int]:
        """The places of the rows that hold all of these."""
        found: set[int] | None = None
        for needle in needles:
            places = set(self._holding(normalised(needle)))
            found = places if found is None else found & places
        return found or set()

    def _holding(self, needle: str) -> Iterator[int]:
        if not needle.strip():
            return
        at = self._joined.find(needle)
        while at >= 0:
            yield self._places[bisect_right(self._starts, at) - 1]
            at = self._joined.find(needle, at + 1)
