"""`ingrain model`."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from ingrain import Operation
from ingrain.cli import watching
from ingrain.cli.beginning import begun
from ingrain.cli.ending import tell
from ingrain.cli.estimating import show_estimate
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
from ingrain.errors import Invalid
from ingrain.names import short_id
from ingrain.units import count, size
from ingrain.v1 import trainer_pb2

app = typer.Typer(help="Base models and trained ones.", no_args_is_help=True)

COLUMNS = {
    "name": lambda m: m.name,
    "state": state,
    "architecture": lambda m: m.architecture,
    "parameters": lambda m: count(m.parameter_count) if m.parameter_count else "",
    "window": lambda m: str(m.context_window or ""),
    "created": when,
}
# In lists the id is enough: every command takes it.
LISTED = {"id": lambda m: short_id(m.name), **{k: v for k, v in COLUMNS.items() if k != "name"}}
LISTED["architecture"] = lambda m: m.architecture.removesuffix("ForCausalLM")
DETAILS = {
    **COLUMNS,
    "base": lambda m: m.base_model,
    "source": lambda m: m.source,
    "domain": lambda m: m.domain,
    "answered as": lambda m: m.endpoint.model_id,
    "size": lambda m: size(m.size_bytes) if m.size_bytes else "",
    "steps": lambda m: str(m.summary.step_count or ""),
    "loss": lambda m: (
        f"{m.summary.first_loss:.3f} -> {m.summary.last_loss:.3f}" if m.summary.last_loss else ""
    ),
    "measured": lambda m: measured(m.summary),
    "verified": lambda m: verified(m.summary.verification),
}
Id = Annotated[str, typer.Option("--id", help="Id of the new model; made up where empty.")]


def measured(summary: trainer_pb2.TrainingSummary) -> str:
    """Before the training, and of the weights that were exported."""
    kept = {0: "before", summary.best_step: f"step {summary.best_step}"}
    return "; ".join(
        " ".join(
            [kept[one.step]]
            + [f"{name} {getattr(one, name):.3f}" for name in ("eval_loss", "acc") if one.HasField(name)]
        )
        for one in summary.measurements
        if one.step in kept
    )


def verified(found: trainer_pb2.Verification) -> str:
    """How near inference comes to what the trainer computed."""
    if not found.token_count:
        return ""
    return f"{found.token_count} tokens within {found.max_difference:.1g} nats ({found.tolerance:g} allowed)"


@app.command("import")
def import_(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A hub id org/name, a folder, s3://..., or bundled://small.")],
    id: Id = "",
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Files of an s3:// source stay there; they must not change.")
    ] = False,
    wait_: Wait = True,
    output: LongOutput = None,
) -> None:
    """Bring in a base model. A folder on this machine is uploaded."""
    with context.obj.client() as client:
        operation = begun(
            context.obj.request_id,
            lambda given: client.models.import_(source, id=id, in_place=in_place, request_id=given),
        )
        _finish(operation, wait_, output)


@app.command("import-endpoint")
def import_endpoint(
    context: typer.Context,
    base_url: Annotated[str, typer.Argument(help="An OpenAI-style server, e.g. https://host/v1.")],
    model_id: Annotated[str, typer.Argument(help="The model's name there.")],
    id: Id = "",
    key_ref: Annotated[
        str, typer.Option("--key-ref", help="env:NAME, a variable of the platform's inference.")
    ] = "",
    window: Annotated[int, typer.Option(help="Prompt and answer together in tokens; 0: 8,192.")] = 0,
    wait_: Wait = True,
    output: LongOutput = None,
) -> None:
    """Let another server answer for a model. It can be asked for text, not scored or trained."""
    with context.obj.client() as client:
        operation = begun(
            context.obj.request_id,
            lambda given: client.models.import_endpoint(
                base_url, model_id, key_ref, id=id, context_window=window, request_id=given
            ),
        )
        _finish(operation, wait_, output)


@app.command()
def upload(
    context: typer.Context,
    folder: Annotated[
        str, typer.Argument(help="A checkpoint's folder: config.json, *.safetensors, tokenizer.")
    ],
    id: Id = "",
    parallel: Annotated[
        int, typer.Option(help="Parts at a time; 0: four for folders above 64 MiB, else one stream.")
    ] = 0,
    wait_: Wait = True,
    output: LongOutput = None,
) -> None:
    """Send a base model from this machine. After a failure the same command sends what is missing."""
    with context.obj.client() as client:
        operation = begun(
            context.obj.request_id,
            lambda given: client.models.upload(
                folder, id=id, parallel=parallel or None, request_id=given or None
            ),
        )
        _finish(operation, wait_, output)


@app.command()
def download(
    context: typer.Context,
    name: str,
    folder: Annotated[str, typer.Argument(help="Where to put the files; made where it is missing.")],
    parallel: Annotated[int, typer.Option(help="Files at a time.")] = 4,
) -> None:
    """Fetch a model's files. After a failure the same command fetches what is missing."""
    with context.obj.client() as client:
        print(client.models.download(name, folder, parallel=parallel))


@app.command()
def train(
    context: typer.Context,
    base: Annotated[str, typer.Option("--base", help="The model to start from.")],
    dataset: Annotated[list[str], typer.Option("--dataset", help="Data; may be given several times.")],
    id: Id = "",
    method: Annotated[str, typer.Option(help="full or lora; full where nothing says otherwise.")] = "",
    splitting: Annotated[
        str,
        typer.Option(
            help="What makes a row: document (the default), sentence, or cumulative (a sentence behind those before it)."
        ),
    ] = "",
    steps: Annotated[int, typer.Option(help="Optimizer steps; 0 takes the default.")] = 0,
    tokens: Annotated[int, typer.Option(help="Tokens to train, instead of steps.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Peak rate; 0 takes the default.")] = 0.0,
    max_length: Annotated[int, typer.Option(help="Tokens of a packed row; 0 takes the default.")] = 0,
    workers: Annotated[int, typer.Option(help="Ray Train workers; 0 takes the default.")] = 0,
    seed: int = 0,
    eval_ratio: Annotated[float, typer.Option(help="Share of the rows to hold out and measure.")] = 0.0,
    eval_probes: Annotated[str, typer.Option(help="Probes with choices to measure.")] = "",
    eval_steps: Annotated[int, typer.Option(help="Steps between measurements; 0: a fifth of them.")] = 0,
    patience: Annotated[
        int, typer.Option(help="Measurements without improvement that end the training; 0: none.")
    ] = 0,
    search_rates: Annotated[
        str, typer.Option(help="Rates to try first, e.g. 1e-4,1e-3; auto: five around the default.")
    ] = "",
    max_seconds: Annotated[float, typer.Option(help="Working time after which it pauses; 0: none.")] = 0.0,
    spec: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='JSON of any settings by TrainingSpec\'s names, e.g. {"r": 8, "use_dora": true}; options win.',
        ),
    ] = None,
    resume_from: Annotated[
        str, typer.Option(help="A failed or cancelled training whose checkpoint to go on from.")
    ] = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would take and whether it fits; start nothing.")
    ] = False,
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Fine-tune a model on datasets."""
    options = {
        "method": method,
        "splitting": splitting,
        "max_steps": steps,
        "max_tokens": tokens,
        "learning_rate": learning_rate,
        "max_length": max_length,
        "num_workers": workers,
        "seed": seed,
        "max_duration": timedelta(seconds=max_seconds) if max_seconds else None,
        **_measuring(eval_ratio, eval_probes, eval_steps, patience),
        **_searching(search_rates),
    }
    given = {name: value for name, value in options.items() if value not in ("", 0, None)}
    with context.obj.client() as client:
        settings = _settings(spec) | given
        operation = begun(
            "" if estimate else context.obj.request_id,
            lambda request_id: client.models.create(
                base,
                dataset,
                id=id,
                resume_from=resume_from,
                request_id=request_id,
                validate_only=estimate,
                **settings,
            ),
        )
        if estimate:
            show_estimate(operation.metadata.estimate)
            return
        _finish(operation, wait_, output, cancel_on_exit)


@app.command("list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """The project's models, newest first."""
    with context.obj.client() as client:
        show_all(client.models.list(), output, LISTED, "There are no models yet.")


@app.command()
def get(context: typer.Context, name: str, output: Output = Format.TABLE) -> None:
    """One model."""
    with context.obj.client() as client:
        show(client.models.get(name), output, DETAILS)


app.command()(watching.watch)
app.command()(watching.logs)


@app.command()
def pause(context: typer.Context, name: str) -> None:
    """Stop a training after its next step; its checkpoint is kept."""
    with context.obj.client() as client:
        model = client.models.pause(name)
    stderr.print(f"Paused. Go on with: ingrain model resume {short_id(model.name)}")


@app.command()
def resume(
    context: typer.Context,
    name: str,
    seconds: Annotated[float, typer.Option(help="Further working time; 0: no limit.")] = 0.0,
    workers: Annotated[int, typer.Option(help="Ray Train workers; 0: as before.")] = 0,
) -> None:
    """Go on with a paused training."""
    with context.obj.client() as client:
        model = client.models.resume(name, max_duration_s=seconds, num_workers=workers)
    stderr.print(f"Goes on. Watch it with: ingrain model watch {short_id(model.name)}")


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """Hide a model."""
    with context.obj.client() as client:
        client.models.delete(name)


def _settings(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        settings = json.loads(file.read_text())
    except ValueError as error:
        raise Invalid(f"{file} is not JSON: {error}") from None
    if not isinstance(settings, dict) or {"base_model", "datasets"} & set(settings):
        raise Invalid(
            f"{file} has to be a JSON object of settings; model and data are named by --base and --dataset"
        )
    return settings


def _measuring(ratio: float, probes: str, steps: int, patience: int) -> dict[str, Any]:
    given = {
        "eval_ratio": ratio,
        "probes": probes,
        "eval_steps": steps,
        "early_stopping_patience": patience,
    }
    return {"evaluation": given} if any(given.values()) else {}


def _searching(rates: str) -> dict[str, Any]:
    if not rates:
        return {}
    if rates == "auto":
        return {"learning_rate_search": {}}
    try:
        return {"learning_rate_search": {"learning_rates": [float(rate) for rate in rates.split(",")]}}
    except ValueError:
        raise typer.BadParameter(
            f"{rates} is no list of numbers; write e.g. 1e-4,1e-3", param_hint="--search-rates"
        ) from None


def _finish(operation: Operation, wait_: bool, output: Format | None, cancel_on_exit: bool = False) -> None:
    if not wait_:
        print(operation.name)
        return
    output = chosen(output)
    model = wait(operation, output, cancel_on_exit)
    show(model, output, DETAILS)
    tell("done", 0, model=model.name, verdict=verified(model.summary.verification))
