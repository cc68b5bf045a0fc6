"""`ingrain study pause|resume|cancel`, and how a study's course and end are shown."""

import typer

from ingrain import Client, Operation
from ingrain.cli.comparison import comparison
from ingrain.cli.ending import tell
from ingrain.cli.output import Format, chosen, show, state, stderr, stdout, when
from ingrain.cli.progress import wait_for_study
from ingrain.names import full_name, short_id, target_of
from ingrain.v1 import studies_pb2

COLUMNS = {
    "name": lambda s: s.name,
    "state": state,
    "model": lambda s: short_id(s.spec.model),
    "dataset": lambda s: short_id(s.spec.dataset),
    "winner": lambda s: s.recommendation.method,
    "created": when,
}


def pause(context: typer.Context, name: str) -> None:
    """Begin no further step; those at work go on to their end."""
    with context.obj.client() as client:
        study = client.studies.pause(name)
    stderr.print(f"Paused. Go on with: ingrain study resume {short_id(study.name)}")


def resume(context: typer.Context, name: str) -> None:
    """Go on with a paused study."""
    with context.obj.client() as client:
        study = client.studies.resume(name)
    stderr.print(f"It goes on. Follow it with: ingrain study watch {short_id(study.name)}")


def cancel(context: typer.Context, name: str) -> None:
    """End a study; what is finished is kept and found by the next one."""
    with context.obj.client() as client:
        operation = next(client.operations.list(full_name(client.parent, "studies", name)))
        client.operations.cancel(operation.name)
    stderr.print("Cancelled; what was finished is kept.")


def finish(
    client: Client,
    operation: Operation,
    wait_: bool,
    output: Format | None,
    cancel_on_exit: bool = False,
) -> None:
    if not wait_:
        print(operation.name)
        return
    output = chosen(output)
    study = wait_for_study(client, target_of(operation.name), operation, output, cancel_on_exit)
    advice = study.recommendation
    tell("done", 0, study=study.name, recommended=advice.method, verdict=advice.reason)
    if output is not Format.TABLE:
        show(study, output, COLUMNS)
        return
    conclude(study)
    stderr.print(
        f"Report: ingrain study report {short_id(study.name)} --format html --to report.html", style="dim"
    )
    stderr.print(f'Ask it: ingrain ask "..." --study {short_id(study.name)}', style="dim")


def conclude(study: studies_pb2.Study) -> None:
    if study.outcomes:
        stdout.print(comparison(study), soft_wrap=False)
    if study.recommendation.method:
        said = f"Recommendation: {study.recommendation.method}. {study.recommendation.reason}"
        stdout.print(said, soft_wrap=False, markup=False)
    elif study.recommendation.reason:
        stdout.print(study.recommendation.reason, soft_wrap=False, markup=False)
    for change in study.recommendation.changes:
        stdout.print(f"- {change}", soft_wrap=False, markup=False)
