"""`ingrain key`."""

from typing import Annotated

import typer

from ingrain.cli.output import Format, Output, as_dict, print_json, show_all, stderr, when
from ingrain.names import short_id

app = typer.Typer(help="API keys of the project.", no_args_is_help=True)

COLUMNS = {
    "name": lambda k: k.name,
    "title": lambda k: k.display_name,
    "scope": lambda k: "read" if k.read_only else "all",
    "status": lambda k: "revoked" if k.HasField("revoke_time") else "valid",
    "created": when,
}
# In lists the id is enough: every command takes it.
LISTED = {"id": lambda k: short_id(k.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}


@app.command()
def create(
    context: typer.Context,
    title: Annotated[str, typer.Option(help="Title for people.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="May only read.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a key. Its secret is printed this once, alone on stdout."""
    with context.obj.client() as client:
        made = client.keys.create(title, read_only)
    if output is Format.JSON:
        print_json(as_dict(made))
    elif output is Format.NAME:
        print(made.key.name)
    else:
        stderr.print(f"{made.key.name}: keep this secret, it is not shown again.")
        print(made.secret)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's keys, without secrets."""
    with context.obj.client() as client:
        show_all(client.keys.list(), output, LISTED, "There are no keys yet.")


@app.command()
def revoke(context: typer.Context, name: str) -> None:
    """End a key at once."""
    with context.obj.client() as client:
        client.keys.revoke(name)
