"""Options of studies on the command line -> fields of StudySpec."""

import re
from typing import Annotated, Any

import typer

from ingrain import errors

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="Repeat it for several: base, icl, icl_subset, icl_retrieved, rag, finetune, augmented_finetune (also ..._local, ..._global), "
        "finetune_icl, augmented_finetune_icl, shuffled_finetune. Default: base, icl, finetune, augmented_finetune.",
    ),
]
Contenders = Annotated[
    list[str] | None,
    typer.Option(
        "--contender",
        metavar="NAME[:METHODS]",
        help="Another model to compare with, e.g. large:icl,rag (default icl); repeat it for several.",
    ),
]
Seeds = Annotated[str, typer.Option("--training-seeds", help="Train with each of these: 1,2,3.")]
Monthly = Annotated[int, typer.Option("--questions-per-month", help="Questions a month.")]
Months = Annotated[int, typer.Option(help="Months that building is paid off in; 0 takes 12.")]
Budget = Annotated[str, typer.Option(help="Most that building and asking may cost, e.g. 250EUR.")]
Latency = Annotated[float, typer.Option(help="Longest time of an answer in seconds, 95 of 100 times.")]
Previous = Annotated[str, typer.Option("--previous", help="An earlier study, to stand beside.")]
Matching = Annotated[str, typer.Option(help="What trainings have in common: steps or tokens.")]
TopK = Annotated[int, typer.Option("--top-k", help="What icl_retrieved and rag find; 0 takes 5.")]
Share = Annotated[
    float, typer.Option("--subset", help="Share of the documents for icl_subset; 0 takes 0.25.")
]
Retention = Annotated[
    bool,
    typer.Option("--retention/--no-retention", help="Measure what training takes away, before and after."),
]
Judge = Annotated[str, typer.Option(help="A model that judges written answers.")]

_MONEY = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]{3})\s*$")


def spec_of(
    contenders: list[str] | None = None,
    training_seeds: str = "",
    questions_per_month: int = 0,
    months: int = 0,
    budget: str = "",
    latency: float = 0.0,
    previous: str = "",
    matching: str = "",
    top_k: int = 0,
    share: float = 0.0,
    judge: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Keywords of `client.studies.create`; only what was given."""
    spec: dict[str, Any] = {}
    if contenders:
        spec["contenders"] = [contender_of(text) for text in contenders]
    if training_seeds:
        spec["training_seeds"] = seeds_of(training_seeds)
    requirements: dict[str, Any] = {
        "questions_per_month": questions_per_month,
        "months": months,
        "latency_seconds": latency,
    }
    requirements = {key: value for key, value in requirements.items() if value}
    if budget:
        requirements["budget"] = money_of(budget)
    if requirements:
        spec["requirements"] = requirements
    if matching:
        spec["matching"] = matching
    if previous:
        spec["previous_study"] = previous
    if top_k:
        spec["retrieval"] = {"top_k": top_k}
    if share:
        spec["subset"] = {"share": share, "seed": seed}
    if judge:
        spec["judge"] = judge
    return spec


def trains(methods: list[str] | None) -> bool:
    """Whether any of the methods does; by default some do."""
    return not methods or any("finetune" in method for method in methods)


def contender_of(text: str) -> dict[str, Any]:
    name, colon, methods = text.partition(":")
    return {"model": name, "methods": [m for m in methods.split(",") if m]} if colon else {"model": name}


def seeds_of(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise errors.Invalid(
            f"--training-seeds {text}: expected whole numbers with commas, as in 1,2,3"
        ) from None


def money_of(text: str) -> dict[str, str]:
    found = _MONEY.match(text)
    if found is None:
        raise errors.Invalid(f"--budget {text}: expected an amount and a currency, as in 250EUR")
    return {"amount": found[1], "currency_code": found[2].upper()}
