"""What was measured, kept for ever as lines of JSON, and as a page of the latest run of each part."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Found = dict[str, Any]  # of a part's dataclass; has `title`, `said`, `lines` and `facts`


@dataclass(frozen=True)
class Record:
    """`spent`: a page written by hand, of where goals are not reached; it ends the page where it is there."""

    lines: str
    page: str
    spent: str
    head: str
    table: Callable[[Found], list[str]]

    def add(self, folder: Path, machine: dict[str, Any], found: Any) -> None:
        with (folder / self.lines).open("a") as record:
            record.write(json.dumps({"machine": machine, "found": dataclasses.asdict(found)}) + "\n")

    def write(self, folder: Path) -> str:
        latest: dict[str, dict[str, Any]] = {}
        for line in (folder / self.lines).read_text().splitlines():
            one = json.loads(line)
            latest[one["found"]["title"]] = one
        page = self.head + "\n".join(self._section(one["machine"], one["found"]) for one in latest.values())
        spent = folder / self.spent
        if spent.exists():
            page += "\n" + spent.read_text()
        (folder / self.page).write_text(page)
        return page

    def _section(self, machine: dict[str, Any], found: Found) -> str:
        lines = [f"\n## {found['title']}\n", found["said"], ""]
        if found["lines"]:
            lines += [*self.table(found), ""]
        lines += [f"- {name}: {_value(value)}" for name, value in found["facts"].items()]
        lines += ["", "*" + "; ".join(f"{key}: {value}" for key, value in machine.items()) + "*", ""]
        return "\n".join(lines)


def spread(one: dict[str, Any]) -> str:
    """Of a `paired.Ratio`."""
    return f"{one['median']:.3g} ({one['low']:.3g} to {one['high']:.3g}; {one['count']} pairs)"


def number(value: float | None) -> str:
    return f"{value:.3g}" if value else ""


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _value(value: Any) -> str:
    return (
        ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
    )
