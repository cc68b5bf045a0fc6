"""`ingrain batch`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ingrain import Client
from ingrain.cli.beginning import begun, request_id
from ingrain.cli.ending import tell
from ingrain.cli.output import (
    CancelOnExit,
    Format,
    LongOutput,
    Output,
    Wait,
    as_dict,
    chosen,
    print_json,
    show,
    show_all,
    state,
    stderr,
    when,
)
from ingrain.cli.progress import wait
from ingrain.names import short_id, target_of
from ingrain.v1.batches_pb2 import Batch

app = typer.Typer(help="Very many questions, asked with what others leave.", no_args_is_help=True)


def _answered(batch: Batch) -> str:
    wrong = f", {batch.error_count} with an error" if batch.error_count else ""
    return f"{batch.answered_count}/{batch.row_count}{wrong}"


COLUMNS = {
    "name": lambda b: b.name,
    "model": lambda b: short_id(b.model),
    "dataset": lambda b: short_id(b.dataset),
    "context": lambda b: short_id(b.context) if b.context else "",
    "state": state,
    "answered": _answered,
    "answers": lambda b: short_id(b.output_dataset) if b.output_dataset else "",
    "operation": lambda b: b.operation.split("/", 2)[-1],
    "created": when,
}
LISTED = {
    "id": lambda b: short_id(b.name),
    **{k: v for k, v in COLUMNS.items() if k not in ("name", "context", "operation")},
}


@app.command()
def create(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A model, icl:<dataset>@<model>, auto:<study> or an alias like bot@prod.")
    ],
    questions: Annotated[str, typer.Argument(help="A dataset of prompts or probes, or a file of prompts.")],
    id: Annotated[str, typer.Option("--id", help="Id of the batch; made up where empty.")] = "",
    held: Annotated[
        str, typer.Option("--context", help="A context that was made before.", metavar="CONTEXT")
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=0, help="Longest answer; 64 where 0.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0: the likeliest answer.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of drawing, with a temperature.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends an answer; repeat it.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it will take; ask nothing.")] = False,
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Ask a model every row. What is answered is kept, also when it is cancelled."""
    output = chosen(output)
    with context.obj.client() as client:
        if Path(questions).suffix in (".jsonl", ".ndjson") and Path(questions).is_file():
            questions = uploaded(client, Path(questions), context.obj.request_id)
        operation = begun(
            "" if estimate else context.obj.request_id,
            lambda id_of_request: client.batches.create(
                model,
                questions,
                id,
                context=held,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                stop=stop or (),
                request_id=id_of_request,
                validate_only=estimate,
            ),
        )
        if estimate:
            print_json(as_dict(operation.result()))
            return
        if not wait_:
            print(operation.name)
            return
        wait(operation, output, cancel_on_exit)
        batch = client.batches.get(target_of(operation.name))
        show(batch, output, COLUMNS)
        tell("done", 0, batch=batch.name, verdict=_answered(batch), answers=batch.output_dataset)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's batches, newest first."""
    with context.obj.client() as client:
        show_all(client.batches.list(), output, LISTED, "There are no batches yet.")


@app.command("show")
def show_(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One batch: how far it is, and what it took."""
    with context.obj.client() as client:
        show(client.batches.get(name), output, COLUMNS)


@app.command()
def results(
    context: typer.Context,
    name: str,
    to: Annotated[Path | None, typer.Option(help="A file to write, instead of showing them.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
) -> None:
    """Its answers as lines of JSON, in the order of the questions."""
    with context.obj.client() as client:
        rows = client.batches.results(name, limit=limit)
        if to is None:
            for row in rows:
                print(json.dumps(row, ensure_ascii=False))
            return
        count = 0
        with to.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    stderr.print(f"{count} answers are in {to}.")


@app.command()
def cancel(context: typer.Context, name: str) -> None:
    """Ask it to end; what is answered stays."""
    with context.obj.client() as client:
        client.batches.cancel(name)
    stderr.print(f"Asked {short_id(name)} to end.")


def uploaded(client: Client, questions: Path, given: str) -> str:
    """The dataset of a file; the same one when the command is run again with the same id of its request."""
    again = request_id(f"{given} {questions}") if given else None
    return str(client.datasets.upload(questions, kind="prompts", request_id=again).name)
