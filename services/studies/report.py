"""What was found -> report.json, the one source of every form of the report. Pure. Its schema: docs/report.md."""

from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from ingrain.v1 import studies_pb2
from servicekit.prices import money
from services.studies import costs
from services.studies.findings import Findings, MethodFindings, Retained
from services.studies.limits import p95
from services.studies.notes import notes
from services.studies.report_augmentation import derived
from services.studies.report_costs import break_even, curve, spent, step
from services.studies.report_inputs import environments, inputs
from services.studies.report_methods import difference, kept, method
from services.studies.reuse import reuse
from services.studies.statistics import Comparison

SCHEMA = "ingrain.report/3"


def build(found: Findings) -> dict[str, Any]:
    """The report as JSON values. Numbers are unrounded; forms for people round them. Money is decimal strings."""
    spec = found.study.spec
    return {
        "schema": SCHEMA,
        "study": found.study.name,
        "title": found.study.display_name,
        "create_time": _time(found.study.create_time),
        "end_time": _time(found.study.end_time),
        "recommendation": _recommendation(found),
        "methods": {name: method(name, m, found) for name, m in found.methods.items()},
        "comparisons": [_comparison(comparison, spec.tolerance) for comparison in found.comparisons],
        "differences": [difference(*entry) for entry in found.differences],
        "retention": [_retained(row) for row in found.retained],
        "curve": curve(found),
        "break_even": break_even(found),
        "prices": _prices(found.prices),
        "requirements": _requirements(spec),
        "previous": _previous(found),
        "steps": [step(one, found.step_prices) for one in found.study.steps],
        "spent": spent(found),
        "reuse": _reuse(found),
        "augmentation": {
            step: derived(dataset, found.labelled.get(step), found.judge_prices.get(step))
            for step, dataset in found.derived.items()
        },
        "environment": environments(found),
        "inputs": inputs(found),
        "notes": notes(found),
    }


def outcome(name: str, entry: MethodFindings, found: Findings) -> studies_pb2.MethodOutcome:
    """The same for the Study resource."""
    low, high = entry.accuracy.interval
    message = studies_pb2.MethodOutcome(
        method=name,
        model=entry.model.name,
        evaluation=entry.evaluation.name,
        kinds=entry.kinds,
        build_cost=costs.cost_message(entry.cost.build),
        question_cost=costs.cost_message(entry.cost.question.amount),
        accuracy=entry.accuracy.value,
        ci95_low=low,
        ci95_high=high,
        latency_p95_seconds=p95(entry.latencies) or 0.0,
    )
    if entry.cost.build_price is not None and entry.cost.question.price is not None:
        message.build_price.CopyFrom(money(entry.cost.build_price, found.prices))
        message.thousand_questions_price.CopyFrom(money(1000 * entry.cost.question.price, found.prices))
    deciding = entry.break_even.get(found.economies[0].unit)
    if deciding and deciding.warm is not None:
        message.break_even_question_count = deciding.warm
    return message


def _recommendation(found: Findings) -> dict[str, Any]:
    decision = found.decision
    winner = found.methods.get(decision.method)
    return {
        "method": decision.method,
        "title": winner.participant.title if winner else "",
        "model": winner.model.name if winner else "",
        "reads": winner.participant.method.reads if winner else "",
        "reason": decision.reason,
        "decisive": decision.decisive,
        "adequate": decision.adequate,
        "best": decision.best,
        "equals": decision.equals,
        "confidence": found.confidence,
        "changes": decision.changes,
        "excluded": dict(found.limits.broken),
        "unit": found.economies[0].unit,
    }


def _comparison(comparison: Comparison, tolerance: float) -> dict[str, Any]:
    """`verdict` is about the candidate: `better`, `worse`, `equal` (within the tolerance for sure) or `open`."""
    within = -tolerance < comparison.low and comparison.high < tolerance
    verdict = "equal" if within else "open"
    if comparison.significant and not within:
        verdict = "better" if comparison.value > 0 else "worse"
    return {
        "candidate": comparison.candidate,
        "baseline": comparison.baseline,
        "value": comparison.value,
        "ci95": [comparison.low, comparison.high],
        "p_adjusted": comparison.p,
        "p_margin": comparison.p_margin,
        "detectable": comparison.detectable,
        "verdict": verdict,
        "n": comparison.n,
        "clusters": comparison.cluster_count,
    }


def _retained(row: Retained) -> dict[str, Any]:
    return {
        "weights": row.weights,
        "bits_per_byte": row.bits_per_byte,
        "probes": kept(row.probes),
        "context": kept(row.context),
    }


def _prices(table: studies_pb2.PriceTable) -> dict[str, Any] | None:
    if not table.currency_code:
        return None
    return MessageToDict(table, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _requirements(spec: studies_pb2.StudySpec) -> dict[str, Any] | None:
    if not spec.HasField("requirements"):
        return None
    given = spec.requirements
    budget = given.budget if given.HasField("budget") else None
    return {
        "questions_per_month": given.questions_per_month,
        "months": given.months,
        "budget": {"amount": budget.amount, "currency_code": budget.currency_code} if budget else None,
        "latency_seconds": given.latency_seconds or None,
    }


def _previous(found: Findings) -> dict[str, Any] | None:
    """The earlier verdict, for whom it stands beside the present one."""
    if found.previous is None:
        return None
    earlier = found.previous
    return {
        "study": earlier["study"],
        "end_time": earlier["end_time"],
        "documents_sha256": earlier["inputs"]["documents"]["sha256"],
        "probes_sha256": earlier["inputs"]["probes"]["sha256"],
        "method": earlier["recommendation"]["method"],
        "reason": earlier["recommendation"]["reason"],
        "same_verdict": earlier["recommendation"]["method"] == found.decision.method,
        "accuracies": {name: entry["accuracy"] for name, entry in earlier["methods"].items()},
    }


def _reuse(found: Findings) -> dict[str, Any]:
    made: dict[str, Any] = dict(found.derived)
    for name, entry in found.methods.items():
        for number, of_seed in enumerate(entry.seeds):
            made[f"evaluate {name}" + (f" seed {number + 1}" if number else "")] = of_seed.evaluation
    return asdict(reuse(found.study.steps, made))


def _time(timestamp: Any) -> str | None:
    return timestamp.ToJsonString() if timestamp.seconds else None
