"""`ingrain evaluation`."""

from pathlib import Path
from typing import Annotated

import typer

from ingrain.cli.output import Format, Output, show, show_all, state, stderr, when
from ingrain.names import short_id

app = typer.Typer(help="What models know, by probes.", no_args_is_help=True)

COLUMNS = {
    "name": lambda e: e.name,
    "model": lambda e: short_id(e.subject.model),
    "documents": lambda e: short_id(e.subject.context.dataset),
    "probes": lambda e: short_id(e.probes),
    "state": state,
    "result": lambda e: ", ".join(f"{kind.kind} {kind.value:.2f}" for kind in e.kinds),
    "created": when,
}
LISTED = {"id": lambda e: short_id(e.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's evaluations, newest first."""
    with context.obj.client() as client:
        show_all(client.evaluations.list(), output, LISTED, "There are no evaluations yet.")


@app.command()
def get(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One evaluation; with `-o json` all its metrics."""
    with context.obj.client() as client:
        show(client.evaluations.get(name), output, COLUMNS)


@app.command()
def export(
    context: typer.Context,
    name: str,
    folder: Annotated[Path, typer.Argument(help="Where to write the results file and the tasks.")],
) -> None:
    """Write an evaluation as lm-evaluation-harness's results, and its probes as tasks of that tool."""
    with context.obj.client() as client:
        path = client.evaluations.export_lm_eval(name, folder)
    print(path)
    stderr.print(f"Ask another model the same: cd {folder} && lm_eval run --include_path . --tasks ...")
