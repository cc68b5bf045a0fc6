"""`ingrain world`."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ingrain.cli.output import Format, Output, print_json, stdout
from ingrain.worlds import SIZES, World, sized

app = typer.Typer(help="Documents about invented things, and probes on them.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Where to write documents.jsonl and probes.jsonl.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same world.")]


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """All worlds with their sizes."""
    rows = [described(name, size) for name, sizes in SIZES.items() for size in sizes]
    if output is Format.NAME:
        for name in SIZES:
            print(name)
    elif output is Format.JSON:
        print_json(rows)
    else:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for title in ("world", "size", "documents", "probes"):
            table.add_column(title, no_wrap=True)
        table.add_column("of each kind", overflow="fold")
        for row in rows:
            kinds = ", ".join(f"{kind} {count}" for kind, count in row["kinds"].items())
            table.add_row(row["world"], row["size"], str(row["documents"]), str(row["probes"]), kinds)
        stdout.print(table, soft_wrap=False)


@app.command()
def generate(
    kind: Annotated[str, typer.Argument(help="Which world; `ingrain world list` shows them.")],
    folder: Folder,
    size: Annotated[str, typer.Option(help="small, or paper or full where there is such a size.")] = "small",
    seed: Seed = 1,
) -> None:
    """Write a world's documents and probes."""
    try:
        world = sized(kind, seed, size)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    write(world, folder)


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="Folder with p2d_prompts_train.jsonl and the other files of the reversal curse.",
        ),
    ],
    folder: Folder,
    seed: Annotated[int, typer.Option(help="Draws the wrong choices.")] = 0,
) -> None:
    """Write documents and probes of the published reversal-curse files."""
    from ingrain.worlds.berglund import published

    write(published(source, seed), folder)


def described(name: str, size: str) -> dict[str, Any]:
    """Counts of a world at seed 1."""
    world = sized(name, 1, size)
    kinds = Counter(probe["kind"] for probe in world.probes)
    return {
        "world": name,
        "size": size,
        "documents": len(world.documents),
        "probes": len(world.probes),
        "kinds": dict(kinds),
    }


def write(world: World, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("documents", world.documents), ("probes", world.probes)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(world.documents)} documents and {len(world.probes)} probes are in {folder}.")
