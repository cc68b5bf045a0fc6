"""`ingrain worlds`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def worlds(
    folder: Annotated[Path, typer.Argument(help="Where to write documents.jsonl and probes.jsonl.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 1,
    kind: Annotated[
        str, typer.Option(help="reversals, syllogisms, catalogue, ..., or suite: several.")
    ] = "suite",
) -> None:
    """Write documents about invented things, and probes on them."""
    from ingrain import worlds as generators

    if kind not in generators.GENERATORS:
        raise typer.BadParameter(f"--kind is one of {', '.join(generators.GENERATORS)}")
    world = generators.GENERATORS[kind](seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "documents.jsonl", world.documents)
    _write(folder / "probes.jsonl", world.probes)
    print(f"{len(world.documents)} documents and {len(world.probes)} probes are in {folder}.")


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
