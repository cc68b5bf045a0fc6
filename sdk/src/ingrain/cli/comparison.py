"""The tables that end a study; they fit 80 columns. Few methods stand across, many stand down."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from ingrain.units import count, duration
from ingrain.v1 import common_pb2, studies_pb2

FEW = 4  # methods that fit side by side
_KINDS = 3  # kinds that fit beside a method's name


def comparison(study: studies_pb2.Study) -> RenderableType:
    return across(study) if len(study.outcomes) <= FEW else down(study)


def down(study: studies_pb2.Study) -> Group:
    """A line for each method: its mean and its prices, then its share right by kind."""
    prices = _table("method", "mean of kinds", "to make", "1,000 questions", "pays after")
    for outcome in study.outcomes:
        mean = f"{outcome.accuracy:.2f} {outcome.ci95_low:.2f}-{outcome.ci95_high:.2f}"
        prices.add_row(_marked(study, outcome), mean, *_costs(outcome), _break_even(outcome))
    kinds = list(dict.fromkeys(kind.kind for outcome in study.outcomes for kind in outcome.kinds))
    tables = [_by_kind(study, kinds[at : at + _KINDS]) for at in range(0, len(kinds), _KINDS)]
    return Group(prices, *(part for table in tables for part in ("", table)))


def _by_kind(study: studies_pb2.Study, kinds: Sequence[str]) -> Table:
    table = _table("", *kinds)
    for outcome in study.outcomes:
        table.add_row(_marked(study, outcome), *(_share(outcome, kind).replace("\n", " ") for kind in kinds))
    return table


def _table(first: str, *titles: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", overflow="fold")
    return table


def _costs(outcome: studies_pb2.MethodOutcome) -> tuple[str, str]:
    """Money where there are prices, else floating-point operations."""
    if outcome.HasField("thousand_questions_price"):
        prices = (outcome.build_price, outcome.thousand_questions_price)
        made, asked = (f"{float(price.amount):.2g} {price.currency_code}" for price in prices)
        return made, asked
    return _flops(outcome.build_cost.flops), _flops(1000 * outcome.question_cost.flops)


def _flops(number: float) -> str:
    return f"{count(number, ' ')}FLOP" if number else ""


def _marked(study: studies_pb2.Study, outcome: studies_pb2.MethodOutcome) -> str:
    winner = outcome.method == study.recommendation.method
    return f"[bold]{outcome.method}[/]" if winner else outcome.method


def across(study: studies_pb2.Study) -> Table:
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
    return f"{count(cost.flops, ' ')}FLOP\n{duration(cost.compute_seconds)}"


def _break_even(outcome: studies_pb2.MethodOutcome) -> str:
    if "finetune" not in outcome.method:
        return ""
    if not outcome.HasField("break_even_question_count"):
        return "never"
    return count(outcome.break_even_question_count)


def beside(before: studies_pb2.Study, now: studies_pb2.Study) -> Table:
    """The earlier verdict and means beside the present ones."""
    table = _table("mean of kinds", "before", "now")
    earlier = {outcome.method: outcome for outcome in before.outcomes}
    present = {outcome.method: outcome for outcome in now.outcomes}
    for method in dict.fromkeys([*earlier, *present]):
        cells = [f"{of[method].accuracy:.3f}" if method in of else "" for of in (earlier, present)]
        table.add_row(method, *cells)
    verdicts = [study.recommendation.method or "none" for study in (before, now)]
    table.add_row("recommended", *(f"[bold]{verdict}[/]" for verdict in verdicts))
    return table


def redone(reuse: Mapping[str, int]) -> list[str]:
    """Of what there was to do, how much was there already."""
    told = {"steps": "Steps", "prompts": "Prompts of augmentation", "probes": "Answers"}
    return [
        f"{title}: {reuse[key] - reuse[f'{key}_reused']:,} done anew, {reuse[f'{key}_reused']:,} found."
        for key, title in told.items()
        if reuse[key]
    ]
