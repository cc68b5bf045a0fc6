"""Results as a page and as a lasting record."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.inference.parts import Found

RECORD = "results.jsonl"
PAGE = "RESULTS.md"
HEAD = """# Inference: what was measured

What was measured of training stands in [TRAINING.md](TRAINING.md).

`make bench-inference` writes this page (`PARTS=short,warm` for some of it; the latest run of each part is shown). Ratios say how many times longer the other takes, as
the median of neighbouring turns with a 95 % bootstrap interval; seconds are the best of all turns. One thread each, fp32, a Llama
shape of 135 million random weights unless said otherwise. "Limit" is the ratio of floating-point operations that cannot be done without
(`benchmarks/inference/limits.py`); goals are those of the project.
"""


def add(folder: Path, machine: dict[str, Any], found: Found) -> None:
    with (folder / RECORD).open("a") as record:
        record.write(json.dumps({"machine": machine, "found": dataclasses.asdict(found)}) + "\n")


def write(folder: Path) -> str:
    """The page of the latest run of each part; what stands below the mark in the page stays."""
    latest: dict[str, dict[str, Any]] = {}
    for line in (folder / RECORD).read_text().splitlines():
        one = json.loads(line)
        latest[one["found"]["title"]] = one
    page = HEAD + "\n".join(_section(one["machine"], one["found"]) for one in latest.values())
    kept = folder / "SPENT.md"
    if kept.exists():
        page += "\n" + kept.read_text()
    (folder / PAGE).write_text(page)
    return page


def _section(machine: dict[str, Any], found: dict[str, Any]) -> str:
    lines = [f"\n## {found['title']}\n", found["said"], ""]
    if found["lines"]:
        lines += [
            "| | ours (s) | other (s) | ratio | limit | of it | goal |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_row(line) for line in found["lines"]]
        lines.append("")
    lines += [f"- {name}: {_value(value)}" for name, value in found["facts"].items()]
    lines += ["", "*" + "; ".join(f"{key}: {value}" for key, value in machine.items()) + "*", ""]
    return "\n".join(lines)


def _row(line: dict[str, Any]) -> str:
    one = line["ratio"]
    spread = f"{one['median']:.3g} ({one['low']:.3g} to {one['high']:.3g}; {one['count']} pairs)"
    limit, goal = line["limit"], line["goal"]
    cells = [
        line["what"],
        f"{line['ours_s']:.3g}",
        f"{line['theirs_s']:.3g}",
        spread,
        f"{limit:.3g}" if limit else "",
        f"{one['median'] / limit:.0%}" if limit else "",
        f"{goal:.3g}" if goal else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _value(value: Any) -> str:
    return (
        ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
    )
