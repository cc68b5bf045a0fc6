"""`ingrain key`."""

from datetime import timedelta
from typing import Annotated

import typer

from ingrain.cli.contexts import seconds
from ingrain.cli.output import Format, Output, as_dict, print_json, show_all, stderr, when
from ingrain.keys import scopes_of, state_of
from ingrain.names import short_id

app = typer.Typer(help="API keys of the project.", no_args_is_help=True)

COLUMNS = {
    "name": lambda k: k.name,
    "title": lambda k: k.display_name,
    "scope": lambda k: ", ".join(scopes_of(k)) or "all",
    "status": state_of,
    "ends": lambda k: f"{k.expire_time.ToDatetime():%Y-%m-%d %H:%M}" if k.HasField("expire_time") else "",
    "created": when,
}
# In lists the id is enough: every command takes it.
LISTED = {"id": lambda k: short_id(k.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}


@app.command()
def create(
    context: typer.Context,
    title: Annotated[str, typer.Option(help="Title for people.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: read, ask, write (all but keys) or keys; repeat it. Everything where none is named."
        ),
    ] = None,
    expires: Annotated[
        str, typer.Option(help="It ends by itself after so long, such as 30d or 12h.", metavar="TIME")
    ] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="The same as --scope read.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a key. Its secret is printed this once, alone on stdout."""
    ends = timedelta(seconds=seconds(expires)) if expires else None
    with context.obj.client() as client:
        made = client.keys.create(title, read_only, ends, scope or ())
    if output is Format.JSON:
        print_json(as_dict(made))
    elif output is Format.NAME:
        print(made.key.name)
    else:
        until = f" until {COLUMNS['ends'](made.key)} UTC" if ends else ""
        stderr.print(f"{made.key.name}{until}: keep this secret, it is not shown again.")
        print(made.secret)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's keys, without secrets: valid, expired and revoked ones."""
    with context.obj.client() as client:
        show_all(client.keys.list(), output, LISTED, "There are no keys yet.")


@app.command()
def revoke(context: typer.Context, name: str) -> None:
    """End a key at once, and for good."""
    with context.obj.client() as client:
        client.keys.revoke(name)
