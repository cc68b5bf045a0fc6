"""Results as a page and as a lasting record."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.training.parts import Found

RECORD = "training.jsonl"
PAGE = "TRAINING.md"
HEAD = """# Training: what was measured

`make bench-training` writes this page (`PARTS=full-30m,ray` for some of it; the latest run of each part is shown). Tokens a second without padding,
the best of all turns; ratios are ours above theirs, as the median of neighbouring turns with a 95 % bootstrap interval, on the wall and by
processor seconds. One thread each. MFU is (k N tokens + 12 layers width positions looked at) / (seconds x GEMM peak measured beside it), with k = 6 for
all weights and 4 for adapters (`services/trainer/metering.py`). TRL 1.16 trains in bf16 by default, so its default is no float32 training.
Goals are those of the project.
"""


def add(folder: Path, machine: dict[str, Any], found: Found) -> None:
    with (folder / RECORD).open("a") as record:
        record.write(json.dumps({"machine": machine, "found": dataclasses.asdict(found)}) + "\n")


def write(folder: Path) -> str:
    """The page of the latest run of each part; SPENT-TRAINING.md beside it is its end."""
    latest: dict[str, dict[str, Any]] = {}
    for line in (folder / RECORD).read_text().splitlines():
        one = json.loads(line)
        latest[one["found"]["title"]] = one
    page = HEAD + "\n".join(section(one["machine"], one["found"]) for one in latest.values())
    kept = folder / "SPENT-TRAINING.md"
    if kept.exists():
        page += "\n" + kept.read_text()
    (folder / PAGE).write_text(page)
    return page


def section(machine: dict[str, Any], found: dict[str, Any]) -> str:
    lines = [f"\n## {found['title']}\n", found["said"], ""]
    lines += [
        "| beside | ours (tokens/s) | other (tokens/s) | ratio | by processor seconds | goal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [row(line) for line in found["lines"]]
    lines += ["", *(f"- {name}: {value}" for name, value in found["facts"].items())]
    lines += ["", "*" + "; ".join(f"{key}: {value}" for key, value in machine.items()) + "*", ""]
    return "\n".join(lines)


def row(line: dict[str, Any]) -> str:
    def spread(one: dict[str, Any]) -> str:
        return f"{one['median']:.3g} ({one['low']:.3g} to {one['high']:.3g}; {one['count']} pairs)"

    goal = f"{line['goal']:.3g}" if line["goal"] else ""
    cells = [line["what"], f"{line['ours']:.0f}", f"{line['theirs']:.0f}"]
    cells += [spread(line["ratio"]), spread(line["busy_ratio"]), goal]
    return "| " + " | ".join(cells) + " |"
