"""`ingrain study`: compare, watch, report; and the whole road for one's own documents in one command."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ingrain import Client, Operation
from ingrain.cli.comparison import comparison
from ingrain.cli.output import Format, Output, Wait, print_json, show, show_all, state, stderr, stdout, when
from ingrain.cli.own_documents import BUNDLED, run_own_documents
from ingrain.cli.progress import wait_for_study
from ingrain.names import full_name, short_id, target_of
from ingrain.v1 import studies_pb2


class StudyGroup(TyperGroup):
    """`ingrain study ./docs ...` is `ingrain study documents ./docs ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and (set("/.~") & set(args[0]) or Path(args[0]).exists()):
            args = ["documents", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=StudyGroup,
    help="Compare the ways to get documents into a model.\n\n"
    "With your own documents: ingrain study ./docs --model NAME [--probes p.jsonl]",
    no_args_is_help=True,
)

COLUMNS = {
    "name": lambda s: s.name,
    "state": state,
    "model": lambda s: short_id(s.spec.model),
    "dataset": lambda s: short_id(s.spec.dataset),
    "winner": lambda s: s.recommendation.method,
    "created": when,
}
# In lists the id is enough: every command takes it.
LISTED = {"id": lambda s: short_id(s.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method", help="base, icl, finetune, augmented_finetune, shuffled_finetune; the first four if none."
    ),
]
Id = Annotated[str, typer.Option("--id", help="Id of the study; made up where empty.")]
Steps = Annotated[int, typer.Option(help="Optimizer steps of each training; 0 takes the default.")]
Questions = Annotated[int, typer.Option(help="Questions that will be asked; 0 reckons with 10,000.")]
Model = Annotated[str, typer.Option("--model", help="A model's name, a hub id org/name, or a folder.")]
GroupKey = Annotated[str, typer.Option(help="Metadata key that names sets with contexts of their own.")]


@app.command()
def run(
    context: typer.Context,
    dataset: Annotated[str, typer.Option("--dataset", help="The documents.")],
    probes: Annotated[str, typer.Option("--probes", help="Dataset of probes.")],
    model: Annotated[str, typer.Option("--model", help="The model to ask and to train.")],
    id: Id = "",
    method: Methods = None,
    group_key: GroupKey = "",
    distinct_key: Annotated[str, typer.Option(help="Rows that share it are read once.")] = "",
    steps: Steps = 0,
    seed: int = 0,
    questions: Questions = 0,
    wait_: Wait = True,
    output: Output = Format.TABLE,
) -> None:
    """Compare the methods on a dataset and its probes."""
    with context.obj.client() as client:
        operation = client.studies.create(
            dataset,
            probes,
            model,
            id=id,
            methods=method or (),
            training={"max_steps": steps, "seed": seed} if steps or seed else None,
            group_key=group_key,
            distinct_key=distinct_key,
            seed=seed,
            question_count=questions,
        )
        finish(client, operation, wait_, output)


@app.command(hidden=True)
def documents(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder or file: .txt, .md, .jsonl.", exists=True)],
    model: Model = BUNDLED,
    probes: Annotated[
        Path | None, typer.Option("--probes", help="JSONL of probes; made from the documents if none.")
    ] = None,
    id: Id = "",
    method: Methods = None,
    group_key: GroupKey = "",
    steps: Steps = 0,
    seed: int = 0,
    questions: Questions = 0,
    wait_: Wait = True,
    output: Output = Format.TABLE,
) -> None:
    """Upload documents, make or upload probes, compare the methods, recommend."""
    with context.obj.client() as client:
        operation = run_own_documents(
            client,
            folder,
            model,
            probes,
            id,
            output,
            steps=steps,
            seed=seed,
            group_key=group_key,
            question_count=questions,
            methods=method or (),
        )
        finish(client, operation, wait_, output)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's studies, newest first."""
    with context.obj.client() as client:
        show_all(client.studies.list(), output, LISTED, "There are no studies yet.")


@app.command()
def get(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One study, with its comparison once it has ended."""
    with context.obj.client() as client:
        study = client.studies.get(name)
    show(study, output, COLUMNS)
    if output is Format.TABLE:
        _conclude(study)


@app.command()
def watch(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """Follow a study until it ends."""
    with context.obj.client() as client:
        study = full_name(client.parent, "studies", name)
        operation = next(client.operations.list(study))
        finish(client, operation, True, output)


@app.command()
def report(
    context: typer.Context,
    name: str,
    format: Annotated[str, typer.Option(help="json, markdown or html.")] = "markdown",
    to: Annotated[Path | None, typer.Option("--to", help="File to write; stdout if none.")] = None,
) -> None:
    """Print or save a study's report."""
    with context.obj.client() as client:
        content = client.studies.report(name, format)
    if to is None:
        print_json(content) if format == "json" else print(content)
        return
    if format == "json":
        content = json.dumps(content, indent=2, ensure_ascii=False)
    to.write_text(content, encoding="utf-8")
    stderr.print(f"Written: {to}")


def finish(client: Client, operation: Operation, wait_: bool, output: Format) -> None:
    if not wait_:
        print(operation.name)
        return
    study = wait_for_study(client, target_of(operation.name), operation, output)
    if output is not Format.TABLE:
        show(study, output, COLUMNS)
        return
    _conclude(study)
    stderr.print(
        f"Report: ingrain study report {short_id(study.name)} --format html --to report.html", style="dim"
    )
    stderr.print(f'Ask it: ingrain ask "..." --study {short_id(study.name)}', style="dim")


def _conclude(study: studies_pb2.Study) -> None:
    if study.outcomes:
        stdout.print(comparison(study), soft_wrap=False)
    if study.recommendation.method:
        said = f"Recommendation: {study.recommendation.method}. {study.recommendation.reason}"
        stdout.print(said, soft_wrap=False, markup=False)
