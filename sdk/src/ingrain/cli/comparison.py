"""The table that ends a study: methods across, kinds of probes and prices down; fits 80 columns."""

from rich.table import Table

from ingrain.cli.output import count
from ingrain.v1 import common_pb2, studies_pb2


def comparison(study: studies_pb2.Study) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column("share right, 95 %")
    for outcome in study.outcomes:
        winner = outcome.method == study.recommendation.method
        table.add_column(outcome.method.replace("_", " "), justify="right", style="bold" if winner else "")
    kinds = dict.fromkeys(kind.kind for outcome in study.outcomes for kind in outcome.kinds)
    for name in kinds:
        table.add_row(name, *(_share(outcome, name) for outcome in study.outcomes))
    prices = {
        "to make": [_price(outcome.build_cost) for outcome in study.outcomes],
        "to ask once": [_price(outcome.question_cost) for outcome in study.outcomes],
        "pays off after\n(questions)": [_break_even(outcome) for outcome in study.outcomes],
    }
    for title, cells in prices.items():
        if any(cells):
            table.add_row(title, *cells)
    return table


def _share(outcome: studies_pb2.MethodOutcome, name: str) -> str:
    for kind in outcome.kinds:
        if kind.kind == name:
            return f"{kind.value:.2f}\n{kind.ci95_low:.2f}-{kind.ci95_high:.2f}"
    return ""


def _price(cost: common_pb2.Cost) -> str:
    if not cost.flops and not cost.compute_seconds:
        return ""
    return f"{count(cost.flops, ' ')}FLOP\n{_seconds(cost.compute_seconds)}"


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return (
        f"{seconds:.0f} s"
        if seconds >= 10
        else f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
    )


def _break_even(outcome: studies_pb2.MethodOutcome) -> str:
    if not outcome.method.endswith("finetune"):
        return ""
    if not outcome.HasField("break_even_question_count"):
        return "never"
    return count(outcome.break_even_question_count)
