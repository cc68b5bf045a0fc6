"""Near duplicates against datasketch, with as many of the planted ones found."""

from typing import Any

from benchmarks.inference.contender import ROOT, Contender
from benchmarks.inference.paired import in_turns, ratio
from benchmarks.inference.parts import Found, Line

DATASKETCH_PYTHON = ROOT / "build" / "datasketch" / "bin" / "python"  # made by `make build/datasketch/.made`
COUNT = 20_000
GOAL = 5.0


def near(pairs: int, tiny: bool) -> Found:
    count = 500 if tiny else COUNT
    package = "benchmarks.augmentation"
    with (
        Contender("ours_near", package=package) as ours,
        Contender("peer_datasketch", package=package, python=DATASKETCH_PYTHON) as theirs,
    ):
        _, bands = ours.turn("make", count=count, seed=1)
        theirs.turn("make", count=count, seed=1)
        facts: dict[str, Any] = {}
        lines = []
        for label, asked, goal in (
            (f"as many bands as ours ({bands})", bands, GOAL),
            ("bands as it chooses itself", 0, None),
        ):
            found: dict[str, Any] = {}

            def mine(found: dict[str, Any] = found) -> float:
                seconds, found["ours"] = ours.turn("find")
                return seconds

            def other(asked: int = asked, found: dict[str, Any] = found) -> float:
                seconds, found["datasketch"] = theirs.turn("find", bands=asked)
                return seconds

            measured = in_turns(mine, other, pairs)
            ours_s, theirs_s = (min(times) for times in zip(*measured, strict=True))
            lines.append(
                Line(
                    f"{count:,} texts; datasketch with {label}", ours_s, theirs_s, ratio(measured), None, goal
                )
            )
            facts[f"recall of planted near duplicates, datasketch with {label}"] = {
                who: f"{told['recall']:.4f}" for who, told in found.items()
            }
    said = (
        f"{count:,} texts of 20 to 40 words, every fifth with one word of an earlier one exchanged; word 3-grams, 128 permutations, threshold 0.7. Both look "
        "each text up among those kept before it, and decide candidates by the exact similarity. datasketch's sketches are made by its `bulk`."
    )
    return Found("Near duplicates against datasketch", said, lines, facts)
