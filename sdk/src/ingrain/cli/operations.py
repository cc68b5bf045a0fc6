"""`ingrain operation`."""

from typing import Annotated, Any

import typer
from rich.table import Table

from ingrain import Operation
from ingrain.cli.ending import tell
from ingrain.cli.output import (
    CancelOnExit,
    Format,
    LongOutput,
    Output,
    as_dict,
    chosen,
    print_json,
    show,
    stderr,
    stdout,
)
from ingrain.cli.progress import wait as wait_for
from ingrain.names import short_id

app = typer.Typer(help="Long work: watch it, wait for it, cancel it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="projects/p/models/m/operations/o")]


@app.command("list")
def list_(
    context: typer.Context,
    under: Annotated[
        str, typer.Argument(help="datasets, models, contexts, batches, evaluations or studies.")
    ],
    output: Output = Format.TABLE,
) -> None:
    """Operations of a collection, newest first."""
    with context.obj.client() as client:
        found = list(client.operations.list(under))
    if output is Format.NAME:
        for operation in found:
            print(operation.name)
    elif output is Format.JSON:
        print_json([as_dict(operation.operation) for operation in found])
    elif not found:
        stderr.print(f"There are no operations under {under}.")
    else:
        table = Table("operation", "verb", "status", "progress", box=None, header_style="dim", pad_edge=False)
        table.columns[0].no_wrap = True  # it is what people copy
        for operation in found:
            table.add_row(
                _short(operation.name), operation.metadata.verb, _status(operation), _progress(operation)
            )
        stdout.print(table, soft_wrap=False)


@app.command()
def get(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """One operation."""
    with context.obj.client() as client:
        operation = client.operations.get(name)
        columns: dict[str, Any] = {
            "name": lambda o: o.name,
            "verb": lambda _: operation.metadata.verb,
            "status": lambda _: _status(operation),
            "progress": lambda _: _progress(operation),
            "message": lambda o: o.error.message or operation.metadata.message,
        }
        show(operation.operation, output, columns)


@app.command()
def wait(
    context: typer.Context,
    name: Name,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Wait for its end; prints what it made."""
    output = chosen(output)
    with context.obj.client() as client:
        made = wait_for(client.operations.get(name), output, cancel_on_exit)
        show(made, output, {"name": lambda m: m.name})
        tell("done", 0, made=made.name)


@app.command()
def cancel(context: typer.Context, name: Name) -> None:
    """Ask it to end."""
    with context.obj.client() as client:
        client.operations.cancel(name)
    stderr.print(f"Asked {short_id(name)} to end.")


def _short(name: str) -> str:
    """Without the project; every command takes it."""
    return name.split("/", 2)[-1]


def _status(operation: Operation) -> str:
    if not operation.done:
        return "cancelling" if operation.metadata.cancel_requested else "running"
    return "failed" if operation.operation.HasField("error") else "done"


def _progress(operation: Operation) -> str:
    metadata = operation.metadata
    counts = (
        f"{metadata.completed_count}/{metadata.total_count} {metadata.unit}" if metadata.total_count else ""
    )
    return f"{metadata.stage} {counts}".strip()
