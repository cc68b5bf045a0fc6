"""Rows with and without a gate -> what it dropped rightly and wrongly, and the table of docs/gates.md. Pure, except for `write`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.augmenter.gates.near import near_duplicates
from tools.probe_truth import claim_of

BEGIN, END = "<!-- measured by make measure-gates -->", "<!-- end of what was measured -->"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """Of the rows without the gate: how many it dropped and kept, by whether they follow from their world's documents."""

    dropped_true: int
    dropped_false: int
    dropped_untold: int
    kept_true: int
    kept_false: int
    kept_untold: int
    extra_compute_seconds: float

    @property
    def precision(self) -> float | None:
        """The share of what it dropped that was false, of rows of which it can be told."""
        dropped = self.dropped_true + self.dropped_false
        return self.dropped_false / dropped if dropped else None

    @property
    def recall(self) -> float | None:
        """The share of what was false that it dropped."""
        false = self.dropped_false + self.kept_false
        return self.dropped_false / false if false else None

    @property
    def lost(self) -> float | None:
        """The share of what was true that it dropped."""
        true = self.dropped_true + self.kept_true
        return self.dropped_true / true if true else None


def judged(
    rows: Sequence[Row], kept: Sequence[Row], truths: Mapping[str, Any], extra_compute_seconds: float
) -> Judged:
    """`truths`: by world, `of` a statement whether it follows. Rows are told apart by their group and text."""

    def key(row: Row) -> tuple[str, str]:
        return row["metadata"]["world"], row["text"]

    left = Counter(map(key, kept))
    counts: Counter[tuple[bool, bool | None]] = Counter()
    for row in rows:
        stayed = left[key(row)] > 0
        left[key(row)] -= stayed
        counts[stayed, truths[row["metadata"]["world"]].of(row["text"])] += 1
    return Judged(
        counts[False, True],
        counts[False, False],
        counts[False, None],
        counts[True, True],
        counts[True, False],
        counts[True, None],
        extra_compute_seconds,
    )


def near_claims(rows: Sequence[Row], thresholds: Sequence[float]) -> dict[str, dict[str, int]]:
    """Of near duplicates: how many say what the statement says that they are near to, and how many something else."""
    texts = [row["text"] for row in rows]
    found = {}
    for threshold in thresholds:
        counts: Counter[str] = Counter(same=0, other=0, untold=0)
        for place, near in enumerate(near_duplicates(texts, threshold)):
            if near is not None:
                one, first = claim_of(texts[place]), claim_of(texts[near])
                counts["untold" if None in (one, first) else "same" if one == first else "other"] += 1
        found[str(threshold)] = dict(counts)
    return found


def table(result: Mapping[str, Any]) -> str:
    sizes, usual = result["sizes"], result["usual"]
    lines = [
        BEGIN,
        f"Measured in {result['minutes']} minutes at commit {result['commit'][:12]}: {sizes['reversal_worlds']} worlds of comparisons and "
        f"{sizes['syllogism_worlds']} of syllogisms with {sizes['facts']} facts each, the default strategies, {result['samples']} samples of "
        f"each prompt at temperature 0.7, seed {result['seed']}. With all gates off {result['written']['rows']:,} statements were kept; "
        f"by default {usual['rows']:,} rows, of which {truth(usual['true'])}.",
        "",
        "| gate | dropped | of these false (precision) | of all false ones dropped (recall) | of all true ones lost | kept, and of these true |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, values in result["gates"].items():
        one = Judged(**values)
        dropped = one.dropped_true + one.dropped_false + one.dropped_untold
        kept = one.kept_true + one.kept_false + one.kept_untold
        lines.append(
            f"| `{name}` | {dropped:,} | {part(one.precision, one.dropped_true + one.dropped_false)} | "
            f"{part(one.recall, one.dropped_false + one.kept_false)} | {part(one.lost, one.dropped_true + one.kept_true)} | "
            f"{kept:,}; {part(one.kept_true / max(1, one.kept_true + one.kept_false), one.kept_true + one.kept_false)} |"
        )
    lines += ["", "Near duplicates, by what they say:", ""]
    lines += ["| threshold | the same | something else | not told |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {threshold} | {one['same']:,} | {one['other']:,} | {one['untold']:,} |"
        for threshold, one in result["near"].items()
    ]
    lines += [
        "",
        "By strategy, of the rows kept by default:",
        "",
        "| strategy | true | false | not told |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {one['true']:,} | {one['false']:,} | {one['untold']:,} |"
        for name, one in result["by_strategy"].items()
    ]
    return "\n".join([*lines, END])


def truth(told: Mapping[str, int]) -> str:
    return f"{told['true']:,} follow from their world, {told['false']:,} do not, and of {told['untold']:,} nothing can be told"


def part(share: float | None, n: int) -> str:
    return "none" if share is None else f"{100 * share:.0f} %, n {n:,}"


def write(result: Mapping[str, Any], into: Path) -> str:
    """`gates.json`, and the part of `gates.md` between its marks where there is such a page. The part."""
    (into / "gates.json").write_text(json.dumps(result, indent=1) + "\n")
    text = table(result)
    page = into / "gates.md"
    if page.exists():
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(before + text + (after or "\n"))
    return text
