"""`ingrain evaluation`."""

from pathlib import Path
from typing import Annotated

import typer

from ingrain.cli.output import Format, Output, Wait, show, show_all, state, stderr, when
from ingrain.cli.progress import wait
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


@app.command()
def create(
    context: typer.Context,
    model: str,
    probes: Annotated[str, typer.Argument(help="A dataset of probes.")],
    id: Annotated[str, typer.Option("--id", help="Id of the evaluation; made up where empty.")] = "",
    documents: Annotated[str, typer.Option(help="A dataset that the model has in its context.")] = "",
    group_key: Annotated[
        str, typer.Option(help="Metadata key: each probe is asked with the documents that share its value.")
    ] = "",
    cluster_key: Annotated[str, typer.Option(help="Metadata key of probes that are not independent.")] = "",
    judge: Annotated[str, typer.Option(help="A model that judges written answers.")] = "",
    rubric: Annotated[
        str, typer.Option(help="What it is asked, with {question}, {reference} and {answer}.")
    ] = "",
    wait_: Wait = True,
    output: Output = Format.TABLE,
) -> None:
    """Ask a model all probes."""
    with context.obj.client() as client:
        operation = client.evaluations.create(
            model,
            probes,
            id,
            dataset=documents,
            group_key=group_key,
            cluster_key=cluster_key,
            judge=judge,
            rubric=rubric,
        )
        if not wait_:
            print(operation.name)
            return
        show(wait(operation, output), output, COLUMNS)


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
    stderr.print(
        "Another model by that tool: lm_eval run --include_path . in that folder; see a task's first line."
    )
