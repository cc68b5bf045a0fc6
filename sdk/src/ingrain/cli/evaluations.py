"""`ingrain evaluation`."""

from pathlib import Path
from typing import Annotated

import typer

from ingrain.cli import gates
from ingrain.cli.beginning import begun
from ingrain.cli.output import (
    CancelOnExit,
    Format,
    LongOutput,
    Output,
    Wait,
    chosen,
    show,
    show_all,
    state,
    stderr,
    when,
)
from ingrain.cli.progress import wait
from ingrain.names import short_id
from ingrain.v1.evaluator_pb2 import KindResult

app = typer.Typer(help="What models know, by probes.", no_args_is_help=True)


def _result(kind: KindResult) -> str:
    """More is better, but of bits per byte less."""
    unit = " bits per byte" if kind.metric == "bits_per_byte" else ""
    return f"{kind.kind} {kind.value:.2f}{unit}"


COLUMNS = {
    "name": lambda e: e.name,
    "model": lambda e: short_id(e.subject.model),
    "documents": lambda e: short_id(e.subject.context.dataset),
    "probes": lambda e: short_id(e.probes),
    "state": state,
    "result": lambda e: ", ".join(_result(kind) for kind in e.kinds),
    "created": when,
}
LISTED = {"id": lambda e: short_id(e.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}


@app.command()
def create(
    context: typer.Context,
    model: str,
    probes: Annotated[str, typer.Argument(help="A dataset of probes, or of documents.")],
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
    asking: Annotated[str, typer.Option(help="How choices are asked: choice or generation.")] = "",
    part: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Only this share of the documents is read.")
    ] = 1.0,
    top_k: Annotated[
        int, typer.Option(min=0, help="Each question is asked with so many documents that are found for it.")
    ] = 0,
    passages: Annotated[bool, typer.Option("--passages", help="Passages are found, not documents.")] = False,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            help="A gate: exit code 6 where a kind of probe has less, such as reversal=0.8; repeat it.",
            metavar="KIND=VALUE",
        ),
    ] = None,
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Ask a model all probes; of a dataset of documents, how well it foresees them."""
    least, output = gates.parsed(fail_below or ()), chosen(output)
    if least and not wait_:
        raise typer.BadParameter("a gate has to wait for the result", param_hint="--no-wait")
    retrieval = {"top_k": top_k, "unit": "passage" if passages else "document"} if top_k or passages else None
    with context.obj.client() as client:
        operation = begun(
            context.obj.request_id,
            lambda request_id: client.evaluations.create(
                model,
                probes,
                id,
                dataset=documents,
                group_key=group_key,
                cluster_key=cluster_key,
                judge=judge,
                rubric=rubric,
                asking=asking,
                subset=part if part < 1 else None,
                retrieval=retrieval,
                request_id=request_id,
            ),
        )
        if not wait_:
            print(operation.name)
            return
        evaluation = wait(operation, output, cancel_on_exit)
        show(evaluation, output, COLUMNS)
        gates.judge(evaluation, least, output)


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
