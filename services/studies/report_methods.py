"""The report's entries about methods. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from ingrain.v1 import evaluator_pb2
from servicekit.prices import shown
from services.studies.costs import Line, MethodCost
from services.studies.coverage import Split
from services.studies.findings import Findings, Kept, MethodFindings
from services.studies.limits import p95
from services.studies.plan import augment_id


def method(name: str, entry: MethodFindings, found: Findings) -> dict[str, Any]:
    return {
        "title": entry.participant.title,
        "method": entry.participant.method.name,
        "control": entry.participant.method.control,
        "base_model": found.models[entry.participant.model].name,
        "model": entry.model.name,
        "evaluation": entry.evaluation.name,
        "seeds": [
            {
                "seed": one.seed,
                "model": one.model.name,
                "model_sha256": one.model.sha256,
                "evaluation": one.evaluation.name,
                "accuracy": one.accuracy,
            }
            for one in entry.seeds
        ],
        "accuracy": entry.accuracy.value,
        "ci95": list(entry.accuracy.interval),
        "kinds": {kind.kind: _kind(kind, kind.kind in found.counted) for kind in entry.kinds},
        "cost": _cost(name, entry.cost, found),
        "latency": _latency(entry),
        "covered": split(entry.covered),
        "uncovered": split(entry.uncovered),
        "derived_rows": derived_rows(entry, found),
        "support": asdict(entry.support) if entry.support else None,
    }


def _kind(kind: evaluator_pb2.KindResult, counted: bool) -> dict[str, Any]:
    return {
        "metric": kind.metric,
        "accuracy": kind.value,
        "n": kind.n,
        "counted": counted,
        "stderr": kind.stderr,
        "ci95": [kind.ci95_low, kind.ci95_high],
        "chance": kind.chance if kind.HasField("chance") else None,
        "metrics": dict(sorted(kind.metrics.items())),
    }


def _cost(name: str, cost: MethodCost, found: Findings) -> dict[str, Any]:
    """`build` is the sum of the `bill`. Money is decimal strings, null where something has no price."""
    count = found.study.spec.question_count
    total = None
    if cost.build_price is not None and cost.question.price is not None:
        total = shown(cost.build_price + count * cost.question.price)
    entry = {
        "bill": [_line(line) for line in cost.bill],
        "build": asdict(cost.build),
        "question": asdict(cost.question.amount),
        "question_cold": asdict(cost.cold_question.amount) if cost.cold_question else None,
        "cache_hit_rate": cost.question.amount.cache_hit_rate,
        "total_flops": None if cost.elsewhere else found.economies[-1].total(name),
        "build_price": None if cost.build_price is None else shown(cost.build_price),
        "thousand_questions_price": _thousand(cost.question),
        "thousand_questions_cold_price": _thousand(cost.cold_question),
        "total_price": total,
    }
    return entry


def _line(line: Line) -> dict[str, Any]:
    return {
        "what": line.what,
        "amount": asdict(line.amount),
        "price": None if line.price is None else shown(line.price),
    }


def _thousand(line: Line | None) -> str | None:
    return None if line is None or line.price is None else shown(1000 * line.price)


def _latency(entry: MethodFindings) -> dict[str, Any] | None:
    """Of single questions, asked one after the other."""
    if not entry.latencies:
        return None
    return {
        "n": len(entry.latencies),
        "p50_seconds": median(entry.latencies),
        "p95_seconds": p95(entry.latencies),
    }


def derived_rows(entry: MethodFindings, found: Findings) -> dict[str, Any] | None:
    """Of what it was trained on beside the documents; null where that is nothing."""
    step = augment_id(entry.participant)
    if step not in found.labelled:
        return None
    known = found.labelled[step]
    return {
        "step": step,
        "count": len(known.rows),
        "seen": len(known.labels.seen),
        "covered": len(known.labels.covered),
        "excluded": known.excluded_count,
    }


def split(part: Split | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {
        "n": part.n,
        "accuracy": part.accuracy,
        "stderr": part.stderr,
        "ci95": list(part.ci95) if part.ci95 else None,
        "kinds": {kind: dict(values) for kind, values in part.kinds.items()},
    }


def kept(one: Kept | None) -> dict[str, Any] | None:
    """`difference`: to before the training; null before it."""
    if one is None:
        return None
    lost = one.difference
    return {
        "accuracy": one.accuracy.value,
        "ci95": list(one.accuracy.interval),
        "n": one.accuracy.n,
        "difference": None if lost is None else {"value": lost.value, "ci95": list(lost.interval)},
    }


def difference(baseline: str, candidate: str, one: evaluator_pb2.Difference) -> Mapping[str, Any]:
    return {
        "candidate": candidate,
        "baseline": baseline,
        "kind": one.kind,
        "value": one.value,
        "ci95": [one.ci95_low, one.ci95_high],
        "n": one.n,
        "clusters": one.cluster_count,
    }
