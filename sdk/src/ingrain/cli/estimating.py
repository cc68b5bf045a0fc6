"""`ingrain estimate`: what a study would take, before anything is paid for."""

import re
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ingrain.cli import study_options as options
from ingrain.cli.output import Format, Output, as_dict, print_json, stdout
from ingrain.cli.own_documents import retention as kept_by
from ingrain.units import count, duration, size
from ingrain.v1 import common_pb2

# Notes begin with the step that they are about and, where it was tried, with its time.
_OF_STEP = re.compile(
    r"^((?:augment|train|evaluate|retain)[a-z0-9_@. -]*): (?:about ([0-9.]+ \w+) of the processor; )?(.+)$",
    re.DOTALL,
)


def estimate(
    context: typer.Context,
    dataset: Annotated[str, typer.Option("--dataset", help="The documents.")],
    probes: Annotated[str, typer.Option("--probes", help="Dataset of probes.")],
    model: Annotated[str, typer.Option("--model", help="The model to ask and to train.")],
    method: options.Methods = None,
    contender: options.Contenders = None,
    group_key: Annotated[str, typer.Option(help="Metadata key of sets with contexts of their own.")] = "",
    distinct_key: Annotated[str, typer.Option(help="Rows that share it are read once.")] = "",
    steps: Annotated[int, typer.Option(help="Optimizer steps of each training; 0 takes the default.")] = 0,
    training_seeds: options.Seeds = "",
    matching: options.Matching = "",
    top_k: options.TopK = 0,
    subset: options.Share = 0.0,
    judge: options.Judge = "",
    retention: options.Retention = True,
    questions_per_month: options.Monthly = 0,
    seed: int = 0,
    trial: Annotated[
        bool,
        typer.Option("--trial/--no-trial", help="Measure small steps for times and money; a minute or so."),
    ] = True,
    output: Output = Format.TABLE,
) -> None:
    """What a study would take, before it is paid for.

    Tokens, steps, processor time, memory, and money where prices are set.

    With your own documents: ingrain study ./docs --model NAME --estimate
    """
    more = options.spec_of(
        contender,
        training_seeds,
        questions_per_month,
        matching=matching,
        top_k=top_k,
        share=subset,
        judge=judge,
        seed=seed,
    )
    with context.obj.client() as client:
        if retention and options.trains(method):
            more["retention"] = kept_by(client, client.models.get(model))
        found = client.studies.estimate(
            dataset,
            probes,
            model,
            methods=method or (),
            training={"max_steps": steps, "seed": seed} if steps or seed else None,
            group_key=group_key,
            distinct_key=distinct_key,
            seed=seed,
            trial=trial,
            **more,
        )
    if output is Format.JSON:
        print_json(as_dict(found))
        return
    show_estimate(found)


def show_estimate(found: common_pb2.Estimate) -> None:
    cost = found.cost
    rows = {
        "tokens read": count(cost.prompt_token_count),
        "tokens read from a cache": count(cost.cached_token_count),
        "tokens written": count(cost.generated_token_count),
        "tokens trained": count(cost.trained_token_count),
        "optimizer steps": count(found.step_count),
        "floating-point operations": f"{count(cost.flops, ' ')}FLOP" if cost.flops else "",
        "processor time": duration(cost.compute_seconds),
        "memory of a training worker": size(found.worker_memory_bytes) if found.worker_memory_bytes else "",
        "price": f"{found.price.amount} {found.price.currency_code}" if found.price.amount else "",
    }
    table = Table.grid(padding=(0, 2))
    for title, cell in rows.items():
        if cell and cell != "0":
            table.add_row(title, cell)
    stdout.print(table, soft_wrap=False)
    of_steps = Table.grid(padding=(0, 2))
    for note in found.notes:
        if step := _OF_STEP.match(note):
            of_steps.add_row(step[1], step[2] or "", escape(step[3]))
    if of_steps.row_count:
        stdout.print("")
        stdout.print(of_steps, soft_wrap=False)
    for note in found.notes:
        if not _OF_STEP.match(note):
            stdout.print(f"- {note}", soft_wrap=False, markup=False)
