"""The command `ingrain`.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 not found, 4 the operation failed, 5 the platform cannot be reached,
6 measured below what was asked for, 75 the platform's own fault or no room now, 130 and 143 detached with Ctrl-C or
SIGTERM (the work goes on). `ingrain.cli.ending` says more.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ingrain.cli import (
    aliases,
    ask,
    augment,
    batches,
    contexts,
    datasets,
    estimating,
    evaluations,
    keys,
    lineage,
    models,
    operations,
    platform,
    probes,
    studies,
    worlds,
)
from ingrain.cli.ending import TERMINATED, Terminated, at_signals, exit_code, tell
from ingrain.cli.output import Connection, explain
from ingrain.client import DEFAULT_TARGET
from ingrain.errors import IngrainError
from ingrain.tls import CA_VARIABLE

app = typer.Typer(
    help="Find the best way to get a language model to know your documents.",
    epilog="INGRAIN_API_KEY holds the API key. Start here: ingrain up; then: ingrain study ./docs --model NAME",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def connect(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Option(
            envvar="INGRAIN_TARGET",
            help="Address; by default the platform on this machine.",
            metavar="HOST:PORT",
        ),
    ] = "",
    project: Annotated[
        str, typer.Option("--project", "-p", envvar="INGRAIN_PROJECT", help="Project.", metavar="ID")
    ] = "default",
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS, with the system's authorities.")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar=CA_VARIABLE,
            exists=True,
            dir_okay=False,
            help="Use TLS, with this file (PEM) of authorities.",
        ),
    ] = None,
    request_id: Annotated[
        str,
        typer.Option(
            envvar="INGRAIN_REQUEST_ID",
            help="The same again finds what it began instead of beginning anew.",
            metavar="ID",
        ),
    ] = "",
) -> None:
    target = target or platform.gateway_of(platform.DEFAULT_DATA_DIR) or DEFAULT_TARGET
    context.obj = Connection(target, project, ca or tls, request_id)


app.command("up", context_settings=platform.PASS_ON)(platform.up)
app.command("down")(platform.down)
app.add_typer(datasets.app, name="dataset")
app.command("augment")(augment.augment)
app.command("lineage")(lineage.lineage)
app.add_typer(models.app, name="model")
app.add_typer(studies.app, name="study")
app.command("estimate")(estimating.estimate)
app.command("evaluate")(evaluations.create)
app.add_typer(evaluations.app, name="evaluation")
app.add_typer(probes.app, name="probes")
app.command("ask")(ask.ask)
app.add_typer(batches.app, name="batch")
app.add_typer(contexts.app, name="context")
app.add_typer(aliases.app, name="alias")
app.add_typer(operations.app, name="operation")
app.add_typer(keys.app, name="key")
app.add_typer(worlds.app, name="world")


def main() -> None:
    with at_signals():
        try:
            app()
        except Terminated:
            said = "Ended by SIGTERM before there was work to wait for; run the same command again."
            print(said, file=sys.stderr)
            tell("terminated", TERMINATED, message=said)
            sys.exit(TERMINATED)
        except IngrainError as error:
            print(explain(error), file=sys.stderr)
            code = exit_code(error)
            tell("failed", code, message=str(error), reason=error.reason, operation=error.operation)
            sys.exit(code)
        except Exception as error:
            if os.environ.get("INGRAIN_DEBUG"):
                raise
            print(f"Error: {type(error).__name__}: {error}", file=sys.stderr)
            print("This is a fault of this command; INGRAIN_DEBUG=1 shows where.", file=sys.stderr)
            tell("failed", 1, message=f"{type(error).__name__}: {error}")
            sys.exit(1)
