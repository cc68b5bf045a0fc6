"""What was measured -> docs/hosts.json and the tables of docs/hosts.md. `python -m tools.hosts.page` writes them anew."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured by make hosts -->", "<!-- end of what was measured -->"
PAGE = "hosts.md"
DOCS = Path(__file__).parents[2] / "docs"


def write(result: Mapping[str, Any], into: Path) -> None:
    """The JSON, and the tables where the page lies there too."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "hosts.json").write_text(json.dumps(result, indent=1) + "\n")
    page = into / PAGE
    if page.exists():
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{tables(result)}\n\n{END}{rest.partition(END)[2]}")


def tables(result: Mapping[str, Any]) -> str:
    parts = [hosts(result)]
    if "study" in result:
        parts.append(study(result["study"]))
    if result["cases"]:
        parts.append(cases(result["cases"]))
    return "\n\n".join(parts)


def hosts(result: Mapping[str, Any]) -> str:
    lines = [
        f"{result['date']}, {result['processors']} processors. All was healthy after {result['start_s']:.0f} s.",
        "",
        "| host | address | listens |",
        "| --- | --- | --- |",
    ]
    for host in result["hosts"]:
        ports: dict[str, list[str]] = {}
        for row in host["listens"]:
            at, _, port = row["address"].rpartition(":")
            beyond = "" if at == host["address"] else f" at {at}"
            ports.setdefault(row["process"], []).append(f"{port}{beyond}")
        told = "; ".join(f"`{process}` {', '.join(found)}" for process, found in ports.items())
        lines.append(f"| {host['name']} | {host['address']} | {told} |")
    return "\n".join(lines)


def study(found: Mapping[str, Any]) -> str:
    workers = " and ".join(sorted(found["training"]["workers"]))
    return (
        f"The study of {found['documents']} documents and {found['probes']} probes passed in {found['seconds']:.0f} s. Its training's two "
        f"workers ran at {workers}, with {found['training']['connections']} connections between them. It recommends `{found['recommendation']}`; "
        f'the winner, asked "{found["question"]}", answered "{found["answer"]}"'
    )


def cases(found: list[Mapping[str, Any]]) -> str:
    lines = [
        "| link that was cut | for | while | seconds, with and without | attempts | the same | what the caller was told, after the cut |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in found:
        cut, calm = case["cut"], case["calm"]
        told = "; ".join(case["during"][:8])
        ended = ", ".join(f"{name} {count}" for name, count in case["processes_ended"].items())
        told += f" (processes that ended and were started again: {ended})" if ended else ""
        seconds = f"{cut['seconds']:.0f}, {calm['seconds']:.0f}" if "seconds" in cut else cut["error"]
        same = outcome(cut["outcome"]) if case["same"] else "**no**"
        lines.append(
            f"| {case['link']} | {case['seconds']:.0f} s | {case['work']} | {seconds} | {cut.get('attempts', '')} | {same} | {told} |"
        )
    return "\n".join(lines)


def outcome(made: Mapping[str, Any]) -> str:
    what = f"{made['rows']} steps' losses and the weights" if "weights" in made else f"{made['rows']} rows"
    return f"{what}, {made['twice']} twice"


if __name__ == "__main__":
    write(json.loads((DOCS / "hosts.json").read_text()), DOCS)
