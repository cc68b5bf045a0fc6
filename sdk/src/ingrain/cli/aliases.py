"""`ingrain alias`."""

from typing import Annotated

import typer

from ingrain.cli.output import Format, Output, show, show_all
from ingrain.names import short_id

app = typer.Typer(help="Names that stay while what answers behind them changes.", no_args_is_help=True)

COLUMNS = {
    "name": lambda a: a.name,
    "target": lambda a: a.target,
    "evaluation": lambda a: short_id(a.evaluation),
    "gate": lambda a: ", ".join(f"{kind} >= {least:g}" for kind, least in sorted(a.gate.least.items())),
    "since": lambda a: a.update_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
}
# In lists the id is enough: every command takes it.
LISTED = {"id": lambda a: short_id(a.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}
DETAILS = {
    **COLUMNS,
    "etag": lambda a: a.etag,
    "before": lambda a: ", ".join(version.target for version in a.versions),
}
Etag = Annotated[str, typer.Option(help="Refuse if the alias has another one, i.e. was changed meanwhile.")]


@app.command()
def promote(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="E.g. support-bot@prod.")],
    target: Annotated[
        str, typer.Argument(help="A model, icl:<dataset>@<model>, rag:<dataset>@<model> or auto:<study>.")
    ],
    evaluation: Annotated[
        str, typer.Option(help="Shows that the target passes the gate; auto:<study> has its own.")
    ] = "",
    gate: Annotated[
        str, typer.Option(help="Probes that this and every later target is measured on.", metavar="DATASET")
    ] = "",
    least: Annotated[
        list[str] | None,
        typer.Option(
            help="Least value of a kind of probe; may be given several times.", metavar="KIND=VALUE"
        ),
    ] = None,
    etag: Etag = "",
    output: Output = Format.TABLE,
) -> None:
    """Let an alias stand for a target; one that does not pass the gate is refused."""
    bounds = dict(map(_bound, least or []))
    if bool(gate) != bool(bounds):
        raise typer.BadParameter("a gate needs both, --gate DATASET and --least KIND=VALUE")
    with context.obj.client() as client:
        show(client.aliases.promote(name, target, evaluation, gate, bounds, etag), output, DETAILS)


@app.command()
def rollback(context: typer.Context, name: str, etag: Etag = "", output: Output = Format.TABLE) -> None:
    """Let an alias stand again for what it stood for before."""
    with context.obj.client() as client:
        show(client.aliases.roll_back(name, etag), output, DETAILS)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's aliases, newest first."""
    with context.obj.client() as client:
        show_all(client.aliases.list(), output, LISTED, "There are no aliases yet.")


@app.command()
def get(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One alias."""
    with context.obj.client() as client:
        show(client.aliases.get(name), output, DETAILS)


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """Remove an alias; what it stood for stays."""
    with context.obj.client() as client:
        client.aliases.delete(name)


def _bound(text: str) -> tuple[str, float]:
    kind, _, value = text.rpartition("=")
    try:
        return kind, float(value)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not KIND=VALUE, as in reversal=0.8") from None
