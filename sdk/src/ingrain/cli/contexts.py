"""`ingrain context`."""

import re
from typing import Annotated

import typer

from ingrain.cli.output import Format, Output, Wait, as_dict, print_json, show, show_all, state, stderr, when
from ingrain.cli.progress import wait
from ingrain.names import short_id, target_of

app = typer.Typer(help="Documents that a model has read once, for all questions.", no_args_is_help=True)
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

COLUMNS = {
    "name": lambda c: c.name,
    "model": lambda c: short_id(c.model),
    "dataset": lambda c: short_id(c.dataset),
    "state": state,
    "documents": lambda c: f"{c.row_count:,}",
    "tokens": lambda c: f"{c.token_count:,}",
    "memory": lambda c: f"{c.cache_bytes / (1 << 20):,.1f} MiB" if c.cache_bytes else "",
    "pinned": lambda c: "yes" if c.pinned else "",
    "expires": lambda c: (
        c.expire_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if c.HasField("expire_time") else ""
    ),
    "created": when,
}
LISTED = {
    "id": lambda c: short_id(c.name),
    **{key: COLUMNS[key] for key in ("model", "dataset", "state", "tokens", "expires", "created")},
}


def seconds(text: str) -> float:
    """Of 90, 90s, 15m, 12h or 7d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found:
        raise typer.BadParameter(f"{text!r} is no time; write 90s, 15m, 12h or 7d")
    return float(found[1]) * UNITS[found[2]]


@app.command()
def create(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model that reads.")],
    dataset: Annotated[str, typer.Argument(help="The documents.")],
    id: Annotated[str, typer.Option("--id", help="Id of the context; made up where empty.")] = "",
    pinned: Annotated[
        bool, typer.Option("--pinned", help="Keep it in memory, whatever else is asked.")
    ] = False,
    ttl: Annotated[
        str, typer.Option(help="Delete it so long after its last use, such as 12h.", metavar="TIME")
    ] = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what reading it takes; read nothing.")
    ] = False,
    wait_: Wait = True,
    output: Output = Format.TABLE,
) -> None:
    """Let a model read documents, so that `ask --context-name` and batches need not."""
    ttl_s = seconds(ttl) if ttl else 0.0
    with context.obj.client() as client:
        operation = client.contexts.create(
            model, dataset, id or None, pinned=pinned, ttl_s=ttl_s, validate_only=estimate
        )
        if estimate:
            print_json(as_dict(operation.result()))
            return
        if not wait_:
            print(operation.name)
            return
        wait(operation, output)
        show(client.contexts.get(target_of(operation.name)), output, COLUMNS)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's contexts, newest first."""
    with context.obj.client() as client:
        show_all(client.contexts.list(), output, LISTED, "There are no contexts yet.")


@app.command("show")
def show_(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One context: what it holds, and what it takes."""
    with context.obj.client() as client:
        show(client.contexts.get(name), output, COLUMNS)


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """Forget it and what was computed of it."""
    with context.obj.client() as client:
        client.contexts.delete(name)
    stderr.print(f"{short_id(name)} is deleted.")
