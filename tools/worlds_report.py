"""What was measured on the worlds -> docs/worlds.json and the tables of docs/worlds.md. Pure, except for `write`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured here -->", "<!-- end of what was measured here -->"


def write(name: str, result: Mapping[str, Any], into: Path) -> None:
    """Puts one world's numbers into both files; those of others stay."""
    path = into / "worlds.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    results[name] = result
    path.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    page = into / "worlds.md"
    page.write_text(filled(page.read_text(), results))


def filled(page: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the tables of all results between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    tables = "\n\n".join(table(name, results[name]) for name in sorted(results))
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def table(name: str, result: Mapping[str, Any]) -> str:
    """One world: kinds down, methods across, and whether the model reads it in context at all."""
    methods = result["methods"]
    seeds = ", ".join(map(str, result["seeds"]))
    lines = [
        f"### {name}",
        "",
        f"{result['copies']} little worlds a seed (seeds {seeds}). Of each: {result['scale']}. Every training: "
        f"{result['steps']} steps. Commit {result['commit'][:12]}, {result['minutes']} minutes.",
        "",
        f"| kind | chance | {' | '.join(methods)} | read in context |",
        f"| --- | --- | {' | '.join('---' for _ in methods)} | --- |",
    ]
    for kind, chance in result["chance"].items():
        cells = [cell(methods[method][kind]) for method in methods]
        lines.append(
            f"| {kind} | {chance:.2f} | {' | '.join(cells)} | {reach(methods['icl'][kind], chance)} |"
        )
    return "\n".join(lines)


def cell(share: Mapping[str, float]) -> str:
    low, high = share["ci95_low"], share["ci95_high"]
    return f"{share['value']:.3f} ({low:.3f} to {high:.3f}), n {share['n']:.0f}"


def reach(icl: Mapping[str, float], chance: float) -> str:
    """What the model does not answer with the documents before it says nothing about the methods."""
    if icl["ci95_low"] > chance:
        return "yes"
    return "below chance" if icl["ci95_high"] < chance else "no: not told from chance"
