"""`ingrain study`: compare, watch, report; and the whole road for one's own documents in one command."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ingrain.cli import again as exporting
from ingrain.cli import study_course
from ingrain.cli import study_options as options
from ingrain.cli.beginning import begun
from ingrain.cli.comparison import beside, redone
from ingrain.cli.estimating import show_estimate
from ingrain.cli.output import (
    CancelOnExit,
    Format,
    LongOutput,
    Output,
    Wait,
    chosen,
    print_json,
    show,
    show_all,
    stderr,
    stdout,
)
from ingrain.cli.own_documents import BUNDLED, prepared
from ingrain.cli.own_documents import retention as kept_by
from ingrain.cli.present_documents import is_changed, present, same_on, unchanged
from ingrain.cli.study_course import COLUMNS, conclude, finish
from ingrain.names import full_name, short_id, target_of


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

# In lists the id is enough: every command takes it.
LISTED = {"id": lambda s: short_id(s.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}
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
    method: options.Methods = None,
    contender: options.Contenders = None,
    group_key: GroupKey = "",
    distinct_key: Annotated[str, typer.Option(help="Rows that share it are read once.")] = "",
    steps: Steps = 0,
    seed: int = 0,
    training_seeds: options.Seeds = "",
    matching: options.Matching = "",
    top_k: options.TopK = 0,
    subset: options.Share = 0.0,
    judge: options.Judge = "",
    retention: options.Retention = True,
    questions: Questions = 0,
    questions_per_month: options.Monthly = 0,
    months: options.Months = 0,
    budget: options.Budget = "",
    latency: options.Latency = 0.0,
    previous: options.Previous = "",
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Compare the methods on a dataset and its probes."""
    more = options.spec_of(
        contender,
        training_seeds,
        questions_per_month,
        months,
        budget,
        latency,
        previous,
        matching,
        top_k,
        subset,
        judge,
        seed,
    )
    with context.obj.client() as client:
        if retention and options.trains(method):
            more["retention"] = kept_by(client, client.models.get(model))
        operation = begun(
            context.obj.request_id,
            lambda request_id: client.studies.create(
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
                request_id=request_id,
                **more,
            ),
        )
        finish(client, operation, wait_, output, cancel_on_exit)


@app.command(hidden=True)
def documents(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(help="The documents: a folder or file, as `dataset upload` takes it.", exists=True),
    ],
    model: Model = BUNDLED,
    probes: Annotated[
        Path | None, typer.Option("--probes", help="JSONL of probes; made from the documents if none.")
    ] = None,
    id: Id = "",
    method: options.Methods = None,
    contender: options.Contenders = None,
    group_key: GroupKey = "",
    steps: Steps = 0,
    seed: int = 0,
    training_seeds: options.Seeds = "",
    matching: options.Matching = "",
    top_k: options.TopK = 0,
    subset: options.Share = 0.0,
    judge: options.Judge = "",
    retention: options.Retention = True,
    questions: Questions = 0,
    questions_per_month: options.Monthly = 0,
    months: options.Months = 0,
    budget: options.Budget = "",
    latency: options.Latency = 0.0,
    previous: options.Previous = "",
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it will take, and stop.")] = False,
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Upload documents, make or upload probes, compare the methods, recommend."""
    output = chosen(output)
    with context.obj.client() as client:
        arguments = prepared(
            client,
            folder,
            model,
            probes,
            output,
            steps=steps,
            seed=seed,
            group_key=group_key,
            keep=retention and options.trains(method),
            question_count=questions,
            methods=method or (),
            **options.spec_of(
                contender,
                training_seeds,
                questions_per_month,
                months,
                budget,
                latency,
                previous,
                matching,
                top_k,
                subset,
                judge,
                seed,
            ),
        )
        if estimate:
            show_estimate(client.studies.estimate(trial=True, **arguments))
            return
        operation = begun(
            context.obj.request_id,
            lambda request_id: client.studies.create(id=id, request_id=request_id, **arguments),
        )
        finish(client, operation, wait_, output, cancel_on_exit)


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
        conclude(study)


@app.command()
def watch(
    context: typer.Context,
    name: str,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Follow a study until it ends."""
    with context.obj.client() as client:
        study = full_name(client.parent, "studies", name)
        operation = next(client.operations.list(study))
        finish(client, operation, True, output, cancel_on_exit)


app.command()(study_course.pause)
app.command()(study_course.resume)
app.command()(study_course.cancel)


@app.command()
def again(
    context: typer.Context,
    name: str,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="The documents as they are now; else the newest dataset of the title that the study's had.",
            exists=True,
        ),
    ] = None,
    id: Id = "",
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Begin nothing where the documents are the same.")
    ] = False,
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """The same study on changed documents; the rest is found.

    With the present documents: only what depends on a change is done again. With --if-changed the same documents
    find the same study, however often it is asked.
    """
    output = chosen(output)
    with context.obj.client() as client:
        before = client.studies.get(name)
        dataset = present(client, before, folder)
        if if_changed and not is_changed(client, before, dataset):
            unchanged(before, dataset, output)
            return
        # Of this study on these documents there is one, whichever run of a schedule begins it.
        request_id = f"{before.name} {dataset.name}" if if_changed else context.obj.request_id
        operation = begun(request_id, lambda given: same_on(client, before, dataset, id, given))
        finish(client, operation, wait_, output, cancel_on_exit)
        if wait_ and output is Format.TABLE:
            now = client.studies.get(target_of(operation.name))
            stdout.print(beside(before, now), soft_wrap=False)
            for line in redone(client.studies.report(now.name)["reuse"]):
                stdout.print(line, soft_wrap=False, markup=False)


@app.command()
def export(
    context: typer.Context,
    name: str,
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    with_model: Annotated[
        Path | None,
        typer.Option(
            "--with-model", help="The checkpoint's folder here; copied if it has the model's digest."
        ),
    ] = None,
) -> None:
    """A study as a folder, to be obtained again from.

    It holds the data, the digests and the table; `ingrain study rerun` takes it.
    """
    with context.obj.client() as client:
        exporting.export(client, name, folder, with_model)


@app.command()
def rerun(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Written by `ingrain study export`.", exists=True)],
    model: Annotated[str, typer.Option(help="The model, where it is not found by its digest.")] = "",
    tolerance: Annotated[float, typer.Option(help="By how much a cell may differ.")] = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Run an exported study and compare the tables.

    Cell by cell; exit code 1 where one differs.
    """
    with context.obj.client() as client:
        if exporting.rerun(client, folder, model, tolerance, output):
            raise typer.Exit(1)


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
