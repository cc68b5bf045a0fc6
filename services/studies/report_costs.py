"""The report's entries about costs that are no single method's: the curve, break-evens, steps, all together. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from ingrain.v1 import studies_pb2
from servicekit.prices import shown
from services.studies import costs
from services.studies.findings import Findings

CURVE = (1, 100, 1_000, 10_000, 100_000, 1_000_000)

Step = studies_pb2.StudyStep


def curve(found: Findings) -> dict[str, Any]:
    """What so many questions take in all, building included, in the unit that decided; null: beyond reckoning.
    `not_cached`: where documents are in the context and every question reads them again."""
    economy = found.economies[0]
    counts = sorted({*CURVE, found.study.spec.question_count} - {0})

    def totals(build: float, question: float) -> list[float | None]:
        values = [build + count * question for count in counts]
        return [value if math.isfinite(value) else None for value in values]

    return {
        "unit": economy.unit,
        "question_counts": counts,
        "totals": {name: totals(economy.build[name], economy.question[name]) for name in found.methods},
        "not_cached": {name: totals(0.0, question) for name, question in economy.cold.items()},
    }


def break_even(found: Findings) -> dict[str, Any] | None:
    """`warm`, `cold`: in floating-point operations; `money` the same in money, where there are prices."""
    if "icl" not in found.methods:
        return None
    return {
        "compared_with": "icl",
        "unit": "questions",
        "formula": costs.FORMULA,
        "icl": _inputs(found.methods["icl"].cost),
        "methods": {
            name: {
                **asdict(entry.break_even[costs.FLOP]),
                "money": next(
                    (asdict(one) for unit, one in entry.break_even.items() if unit != costs.FLOP), None
                ),
                **_inputs(entry.cost),
            }
            for name, entry in found.methods.items()
            if entry.break_even
        },
    }


def _inputs(cost: costs.MethodCost) -> dict[str, Any]:
    cold = cost.cold_question
    return {
        "build_flops": cost.build.flops,
        "question_flops": cost.question.amount.flops,
        "question_cold_flops": cold.amount.flops if cold else None,
        "build_price": None if cost.build_price is None else shown(cost.build_price),
        "question_price": None if cost.question.price is None else str(cost.question.price),
        "question_cold_price": str(cold.price) if cold and cold.price is not None else None,
    }


def step(one: studies_pb2.StudyStep, prices: Mapping[str, Decimal]) -> dict[str, Any]:
    return {
        "id": one.id,
        "status": Step.Status.Name(one.status),
        "resource": one.resource,
        "operation": one.operation,
        "fingerprint": one.fingerprint,
        "cost": asdict(costs.amount(one.cost)),
        "price": shown(prices[one.id]) if one.id in prices else None,
    }


def spent(found: Findings) -> dict[str, Any]:
    """What the steps took together: those `done` in this study, and those `reused`, as of when they were done."""
    steps = found.study.steps
    return {
        "done": _together([one for one in steps if one.status == Step.DONE], found.step_prices),
        "reused": _together([one for one in steps if one.status == Step.REUSED], found.step_prices),
    }


def _together(steps: Sequence[studies_pb2.StudyStep], prices: Mapping[str, Decimal]) -> dict[str, Any]:
    priced = bool(prices) and all(one.id in prices for one in steps)
    return {
        "amount": asdict(costs.total(costs.amount(one.cost) for one in steps)),
        "price": shown(sum((prices[one.id] for one in steps), Decimal(0))) if priced else None,
    }
