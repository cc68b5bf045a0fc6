"""`ingrain ask`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ingrain import Client
from ingrain.cli.output import stderr
from ingrain.inference import QUESTION
from ingrain.names import full_name, short_id
from ingrain.v1.inference_pb2 import Usage


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[
        str, typer.Option("--model", help="Ask this model, rag:<dataset>@<model>, or an alias like bot@prod.")
    ] = "",
    study: Annotated[str, typer.Option("--study", help="Ask the winner of this study.")] = "",
    dataset: Annotated[
        str, typer.Option("--context", help="Dataset that the model has in its context.", metavar="DATASET")
    ] = "",
    held: Annotated[
        str, typer.Option("--context-name", help="A context that was made before.", metavar="CONTEXT")
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0: the likeliest answer.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of drawing, with a temperature.")] = 0,
    schema: Annotated[
        Path | None,
        typer.Option(help="A JSON schema that the answer keeps to.", exists=True, dir_okay=False),
    ] = None,
    usage: Annotated[bool, typer.Option("--usage", help="Say what was read and written.")] = False,
) -> None:
    """Ask a model, or the winner of a study. The answer is shown as it comes."""
    if bool(model) == bool(study) or (study and dataset) or (dataset and held):
        raise typer.BadParameter(
            "give either --model (with or without --context or --context-name) or --study"
        )
    options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    if schema:
        options["json_schema"] = json.loads(schema.read_text())
    else:
        options["stop"] = ["\n"]
    with context.obj.client() as client:
        asked = model or full_name(client.parent, "studies", study)
        if dataset:
            asked = f"icl:{short_id(dataset)}@{short_id(model)}"
        spent = _written(client, asked, question, held, options)
    if usage:
        stderr.print(
            f"read {spent.prompt_token_count:,} tokens, {spent.cached_token_count:,} of them known; "
            f"wrote {spent.generated_token_count:,}",
            style="dim",
        )


def _written(client: Client, model: str, question: str, held: str, options: dict) -> Usage:
    """Prints the answer, without the blanks around it."""
    spent, blanks = Usage(), ""
    begun = False
    for piece in client.stream(model, QUESTION.format(question=question), context=held, **options):
        text = blanks + piece.text
        if not begun:
            text = text.lstrip()
        kept = text.rstrip()
        blanks = text[len(kept) :] if kept or begun else ""
        begun = begun or bool(kept)
        print(kept, end="", flush=True)
        if piece.HasField("usage"):
            spent = piece.usage
    print()
    return spent
