"""What a buyer cannot go beyond: money and time. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ingrain.v1 import studies_pb2, trainer_pb2
from servicekit.errors import Invalid
from servicekit.prices import hour_price
from services.studies.costs import Economy


@dataclass(frozen=True)
class Limits:
    """`broken`: who does not keep to them, and by what. `without`: the same with one limit lifted, by its words."""

    broken: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unchecked: str = ""


def limits_of(
    requirements: studies_pb2.Requirements, economy: Economy, latencies: Mapping[str, Sequence[float]]
) -> Limits:
    """`latencies`: seconds of single questions by id; who was not measured breaks a limit of time."""
    over: dict[str, str] = {}
    slow: dict[str, str] = {}
    lifted = {}
    unchecked = ""
    if requirements.HasField("budget") and economy.unit != requirements.budget.currency_code:
        unchecked = "The budget could not be weighed: not everything that was measured has a price."
    elif requirements.HasField("budget"):
        budget = Decimal(requirements.budget.amount)
        unit = requirements.budget.currency_code
        words = f"the budget of {budget} {unit}"
        for id in economy.build:
            cost = economy.total(id)
            if cost > budget:
                over[id] = f"{cost:,.2f} {unit} are more than {words}"
        lifted[words] = slow
    if requirements.latency_seconds:
        words = f"the limit of {requirements.latency_seconds:g} s"
        for id in economy.build:
            seconds = p95(latencies.get(id, ()))
            if seconds is None:
                slow[id] = f"its answers were not timed, and {words} is to be kept"
            elif seconds > requirements.latency_seconds:
                slow[id] = f"5 of 100 answers take {seconds:.2g} s or longer, more than {words}"
        lifted[words] = over
    both = {id: "; ".join(filter(None, (over.get(id), slow.get(id)))) for id in {**over, **slow}}
    return Limits({id: both[id] for id in economy.build if id in both}, lifted, unchecked)


def check_budget(
    requirements: studies_pb2.Requirements,
    prices: studies_pb2.PriceTable,
    device: str,
    models: Iterable[trainer_pb2.Model],
) -> None:
    """A budget can be kept only where everything has a price in its currency."""
    if not requirements.HasField("budget"):
        return
    currency = requirements.budget.currency_code
    missing = []
    if hour_price(device, prices.device_hours) is None:
        missing.append(f"an hour of {device!r}")
    for model in models:
        if model.HasField("endpoint") and model.endpoint.model_id not in prices.tokens:
            missing.append(f"tokens of {model.endpoint.model_id!r}")
    if prices.currency_code != currency:
        missing = [f"anything in {currency}"]
    if missing:
        raise Invalid(
            "BUDGET_WITHOUT_PRICES",
            f"The budget is in {currency}, and there is no price for {', '.join(missing)}. Let the operator set prices "
            "(GetPriceTable shows those that are set), or leave the budget out.",
            field="study.spec.requirements.budget",
        )


def p95(seconds: Sequence[float]) -> float | None:
    """The nearest rank: 95 of 100 are at most so long."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1] if seconds else None
