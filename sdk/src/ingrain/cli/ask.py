"""`ingrain ask`."""

from typing import Annotated

import typer

from ingrain.names import full_name


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
    max_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 128,
) -> None:
    """Ask a model, or the winner of a study."""
    if bool(model) == bool(study) or (study and dataset):
        raise typer.BadParameter("give either --model (with or without --context) or --study")
    with context.obj.client() as client:
        asked = model or full_name(client.parent, "studies", study)
        print(client.ask(asked, question, dataset=dataset, max_tokens=max_tokens))
