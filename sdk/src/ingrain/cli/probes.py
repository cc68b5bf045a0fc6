"""`ingrain probes`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ingrain.cli.output import Format, Output, Wait, print_json, stderr
from ingrain.cli.progress import wait
from ingrain.names import short_id

app = typer.Typer(help="Probes about your own documents.", no_args_is_help=True)


@app.command()
def generate(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset of documents.")],
    model: Annotated[str, typer.Option(help="Who writes: the most capable model at hand.")],
    to: Annotated[Path | None, typer.Option(help="Write the probes to this file, to be edited.")] = None,
    id: Annotated[str, typer.Option("--id", help="Id of the dataset of probes; made up where empty.")] = "",
    checker: Annotated[str, typer.Option(help="Who checks; by default the model that writes.")] = "",
    kinds: Annotated[str, typer.Option(help="E.g. `paraphrase,reversal`; by default all.")] = "",
    count: Annotated[int, typer.Option(min=0, help="Probes of each kind, at most.")] = 30,
    style: Annotated[str, typer.Option(help="cloze or question; by default as the model is.")] = "",
    group_key: Annotated[
        str, typer.Option(help="Metadata key that splits the documents into independent sets.")
    ] = "",
    distinct_key: Annotated[
        str, typer.Option(help="Of documents that share it only the first is read.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Which documents are asked about.")] = 0,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it will take, and stop.")] = False,
    wait_: Wait = True,
    output: Output = Format.TABLE,
) -> None:
    """Let a model write probes about documents, and check them."""
    if to is not None and to.exists():
        raise typer.BadParameter(f"{to} exists already; it may have been edited", param_hint="--to")
    with context.obj.client() as client:
        operation = client.evaluations.generate_probes(
            dataset,
            model,
            id,
            checker=checker,
            validate_only=estimate,
            kinds=[kind.strip() for kind in kinds.split(",") if kind.strip()],
            count_per_kind=count,
            style=style or None,
            group_key=group_key,
            distinct_key=distinct_key,
            seed=seed,
        )
        if estimate:
            _tell_estimate(operation.result())
            return
        if not wait_:
            print(operation.name)
            return
        made = wait(operation, output)
        rows = list(client.datasets.rows(made.name)) if to is not None else []
    if to is not None:
        to.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    _tell(made, output)
    if to is not None:
        stderr.print(
            f"Wrote {to}. Edit it, then: ingrain dataset upload {to}, and ask with what that gives you."
        )


def _tell(made: Any, output: Format) -> None:
    labels = dict(made.labels)
    kept, dropped = (json.loads(labels.get(name, "{}")) for name in ("kept", "dropped"))
    if output is Format.JSON:
        print_json(
            {"name": made.name, "row_count": made.row_count, **labels, "kept": kept, "dropped": dropped}
        )
        return
    print(made.name if output is Format.NAME else short_id(made.name))
    if output is Format.TABLE:
        stderr.print("Kept: " + (_counts(kept) or "nothing") + ".")
        stderr.print("Dropped: " + (_counts(dropped) or "nothing") + ".")
        stderr.print(labels.get("trust", "") + ".")


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in ordered)


def _tell_estimate(expected: Any) -> None:
    cost = expected.cost
    print(f"{cost.prompt_token_count} tokens to read, {cost.generated_token_count} to write")
    for note in expected.notes:
        stderr.print(note)
