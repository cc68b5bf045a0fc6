"""`ingrain dataset`."""

import json
from typing import Annotated

import typer

from ingrain.cli.beginning import begun, request_id
from ingrain.cli.counted import read, skipped
from ingrain.cli.output import Format, Output, Wait, show, show_all, state, stdout, when
from ingrain.cli.progress import wait
from ingrain.names import short_id
from ingrain.units import size
from ingrain.v1.datasets_pb2 import Dataset

app = typer.Typer(help="Documents, training rows and probes.", no_args_is_help=True)

COLUMNS = {
    "name": lambda d: d.name,
    "kind": lambda d: Dataset.Kind.Name(d.kind).lower(),
    "state": state,
    "rows": lambda d: str(d.row_count),
    "size": lambda d: size(d.size_bytes),
    "created": when,
}
# In lists the id is enough: every command takes it.
LISTED = {"id": lambda d: short_id(d.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}
SHOWN = {**COLUMNS, "read": read, "skipped": skipped}
Id = Annotated[str, typer.Option("--id", help="Id of the new dataset; made up where empty.")]
Kind = Annotated[
    str, typer.Option(help="documents, messages, prompt_completion or probes; by the first row where empty.")
]
Split = Annotated[
    int,
    typer.Option(
        help="Longest row in characters; longer documents are split at headings and sentences. 0: whole."
    ),
]
Overlap = Annotated[
    int, typer.Option(help="Characters of the row before that a row repeats, in whole sentences.")
]


@app.command()
def upload(
    context: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            help="A .jsonl, .txt, .md, .html, .pdf, .docx, .csv or .parquet file, an archive (.zip, .tar, .gz) "
            "or a folder of such."
        ),
    ],
    id: Id = "",
    kind: Kind = "",
    title: Annotated[str, typer.Option(help="Title for people.")] = "",
    split: Split = 0,
    overlap: Overlap = 0,
    output: Output = Format.TABLE,
) -> None:
    """Send documents or rows from this machine; says what was read, what was skipped and why."""
    with context.obj.client() as client:
        dataset = client.datasets.upload(
            path,
            id=id,
            kind=kind or None,
            display_name=title,
            splitting=splitting(split, overlap),
            request_id=request_id(context.obj.request_id) if context.obj.request_id else None,
        )
    show(dataset, output, SHOWN)


@app.command("import")
def import_(
    context: typer.Context,
    uri: Annotated[str, typer.Argument(help="s3://bucket/prefix, or file:// on the platform's machine.")],
    id: Id = "",
    kind: Kind = "",
    split: Split = 0,
    overlap: Overlap = 0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what would be read and what not; import nothing.")
    ] = False,
    wait_: Wait = True,
    output: Output = Format.TABLE,
) -> None:
    """Read documents or rows from a URI that the platform can reach."""
    with context.obj.client() as client:
        operation = begun(
            "" if estimate else context.obj.request_id,
            lambda given: client.datasets.import_(
                uri,
                id=id,
                kind=kind or None,
                validate_only=estimate,
                splitting=splitting(split, overlap),
                request_id=given,
            ),
        )
        if estimate:
            for note in operation.metadata.estimate.notes:
                stdout.print(note, markup=False)
        elif not wait_:
            print(operation.name)
        else:
            show(wait(operation, output), output, SHOWN)


def splitting(split: int, overlap: int) -> dict[str, int] | None:
    if not split and not overlap:
        return None
    return {"max_characters": split, "overlap_characters": overlap}


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's datasets, newest first."""
    with context.obj.client() as client:
        show_all(client.datasets.list(), output, LISTED, "There are no datasets yet.")


@app.command()
def get(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One dataset."""
    with context.obj.client() as client:
        show(client.datasets.get(name), output, SHOWN)


@app.command()
def rows(
    context: typer.Context,
    name: str,
    start: Annotated[int, typer.Option(help="Rows to skip.")] = 0,
    limit: Annotated[int, typer.Option(help="Rows to print; 0 prints all.")] = 0,
) -> None:
    """Print rows as JSON lines."""
    with context.obj.client() as client:
        for row in client.datasets.rows(name, start=start, limit=limit):
            print(json.dumps(row, ensure_ascii=False))


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """Hide a dataset."""
    with context.obj.client() as client:
        client.datasets.delete(name)
