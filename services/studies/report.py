"""What was found -> report.json, the one source of every form of the report. Pure. Its schema: docs/report.md."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, studies_pb2
from services.studies import costs
from services.studies.coverage import Split
from services.studies.decide import TITLES
from services.studies.findings import Findings, MethodFindings
from services.studies.notes import notes
from services.studies.statistics import Comparison

SCHEMA = "ingrain.report/1"


def build(found: Findings) -> dict[str, Any]:
    """The report as JSON values. Numbers are unrounded; forms for people round them."""
    spec = found.study.spec
    return {
        "schema": SCHEMA,
        "study": found.study.name,
        "title": found.study.display_name,
        "create_time": _time(found.study.create_time),
        "end_time": _time(found.study.end_time),
        "recommendation": {
            "method": found.decision.method,
            "title": TITLES[found.decision.method],
            "model": found.methods[found.decision.method].model.name,
            "reason": found.decision.reason,
            "decisive": found.decision.decisive,
            "adequate": found.decision.adequate,
            "best": found.decision.best,
            "equals": found.decision.equals,
        },
        "methods": {name: _method(name, m, found) for name, m in found.methods.items()},
        "comparisons": [_comparison(comparison, spec.tolerance) for comparison in found.comparisons],
        "differences": [_difference(*entry) for entry in found.differences],
        "break_even": _break_even(found.methods),
        "steps": [_step(step) for step in found.study.steps],
        "augmentation": {step: _derived(dataset) for step, dataset in found.derived.items()},
        "environment": _environments(found),
        "inputs": _inputs(found),
        "notes": notes(found),
    }


def outcome(name: str, method: MethodFindings) -> studies_pb2.MethodOutcome:
    """The same for the Study resource."""
    message = studies_pb2.MethodOutcome(
        method=name,
        model=method.model.name,
        evaluation=method.evaluation.name,
        kinds=method.kinds,
        build_cost=costs.cost_message(method.cost.build),
        question_cost=costs.cost_message(method.cost.question),
    )
    if method.break_even and method.break_even.warm is not None:
        message.break_even_question_count = method.break_even.warm
    return message


def _method(name: str, method: MethodFindings, found: Findings) -> dict[str, Any]:
    cost = {
        "build": asdict(method.cost.build),
        "question": asdict(method.cost.question),
        "total_flops": costs.total_flops(method.cost, found.study.spec.question_count),
    }
    if method.cost.cold_question:
        cost["question_cold"] = asdict(method.cost.cold_question)
    return {
        "title": TITLES[name],
        "model": method.model.name,
        "evaluation": method.evaluation.name,
        "accuracy": method.accuracy.value,
        "ci95": list(method.accuracy.interval),
        "kinds": {kind.kind: _kind(kind, kind.kind in found.counted) for kind in method.kinds},
        "cost": cost,
        "covered": _split(method.covered),
        "uncovered": _split(method.uncovered),
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


def _split(part: Split | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {
        "n": part.n,
        "accuracy": part.accuracy,
        "stderr": part.stderr,
        "ci95": list(part.ci95) if part.ci95 else None,
        "kinds": {kind: dict(values) for kind, values in part.kinds.items()},
    }


def _difference(baseline: str, candidate: str, difference: evaluator_pb2.Difference) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "baseline": baseline,
        "kind": difference.kind,
        "value": difference.value,
        "ci95": [difference.ci95_low, difference.ci95_high],
        "n": difference.n,
        "clusters": difference.cluster_count,
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
        "p_margin_adjusted": comparison.p_margin,
        "detectable": comparison.detectable,
        "verdict": verdict,
        "n": comparison.n,
        "clusters": comparison.cluster_count,
    }


def _break_even(methods: Mapping[str, MethodFindings]) -> dict[str, Any] | None:
    if "icl" not in methods:
        return None
    icl = methods["icl"].cost
    assert icl.cold_question is not None
    return {
        "compared_with": "icl",
        "unit": "questions",
        "formula": costs.FORMULA,
        "icl": {
            "build_flops": icl.build.flops,
            "question_flops": icl.question.flops,
            "question_cold_flops": icl.cold_question.flops,
        },
        "methods": {
            name: {
                "warm": method.break_even.warm,
                "cold": method.break_even.cold,
                "build_flops": method.cost.build.flops,
                "question_flops": method.cost.question.flops,
            }
            for name, method in methods.items()
            if method.break_even
        },
    }


def _step(step: studies_pb2.StudyStep) -> dict[str, Any]:
    return {
        "id": step.id,
        "status": studies_pb2.StudyStep.Status.Name(step.status),
        "resource": step.resource,
        "operation": step.operation,
        "fingerprint": step.fingerprint,
        "cost": asdict(costs.amount(step.cost)),
    }


def _derived(dataset: datasets_pb2.Dataset) -> dict[str, Any]:
    source = dataset.provenance
    return {
        "dataset": dataset.name,
        "sha256": dataset.sha256,
        "row_count": dataset.row_count,
        "prompt_set": source.prompt_set,
        "kept": dict(sorted(source.kept_counts.items())),
        "dropped": dict(sorted(source.dropped_counts.items())),
    }


def _environments(found: Findings) -> list[dict[str, Any]]:
    """Where things ran: each distinct environment with the steps that ran in it."""
    ran = [
        (f"train {name}", method.model.summary.environment)
        for name, method in found.methods.items()
        if method.model.HasField("summary")
    ]
    ran += [(f"evaluate {name}", method.evaluation.environment) for name, method in found.methods.items()]
    environments: dict[str, dict[str, Any]] = {}
    for step, environment in ran:
        entry = _environment(environment)
        startup_s = entry.pop("startup_seconds")
        known = environments.setdefault(repr(entry), {**entry, "steps": [], "startup_seconds": {}})
        known["steps"].append(step)
        if startup_s:
            known["startup_seconds"][step] = startup_s
    return list(environments.values())


def _environment(environment: common_pb2.Environment) -> dict[str, Any]:
    return {
        "backend": environment.backend,
        "device": environment.device,
        "process_count": environment.process_count,
        "zero_stage": environment.zero_stage if environment.HasField("zero_stage") else None,
        "dtype": environment.dtype,
        "versions": dict(sorted(environment.versions.items())),
        "startup_seconds": environment.startup_duration.ToTimedelta().total_seconds(),
    }


def _inputs(found: Findings) -> dict[str, Any]:
    spec, model = found.study.spec, found.model
    return {
        "documents": _dataset(found.documents),
        "probes": _dataset(found.probes),
        "model": {
            "name": model.name,
            "title": model.display_name,
            "source": model.source,
            "sha256": model.sha256,
            "architecture": model.architecture,
            "parameter_count": model.parameter_count,
            "layer_count": model.layer_count,
            "hidden_size": model.hidden_size,
            "context_window": model.context_window,
            "chat_template": model.chat_template,
            "domain": model.domain,
        },
        "methods": list(spec.methods),
        "group_key": spec.group_key,
        "distinct_key": spec.distinct_key,
        "group_count": len(found.contexts),
        "context_token_count": {
            "total": sum(found.contexts.values()),
            "largest": max(found.contexts.values(), default=0),
        },
        "question_count": spec.question_count,
        "tolerance": spec.tolerance,
        "seed": spec.seed,
        "training": MessageToDict(spec.training, preserving_proto_field_name=True),
        "augmentation": MessageToDict(spec.augmentation, preserving_proto_field_name=True),
    }


def _dataset(dataset: datasets_pb2.Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "title": dataset.display_name,
        "sha256": dataset.sha256,
        "row_count": dataset.row_count,
    }


def _time(timestamp: Any) -> str | None:
    return timestamp.ToJsonString() if timestamp.seconds else None
