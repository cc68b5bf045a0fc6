"""The report's entries about what went in and where it ran. Pure."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from ingrain.v1 import common_pb2, datasets_pb2, trainer_pb2
from services.studies.findings import Findings


def environments(found: Findings) -> list[dict[str, Any]]:
    """Where things ran: each distinct environment with the steps that ran in it."""
    ran = {}
    for entry in found.methods.values():
        if entry.model.HasField("summary"):
            ran[f"train {entry.participant.weights}"] = entry.model.summary.environment
    for name, entry in found.methods.items():
        ran[f"evaluate {name}"] = entry.evaluation.environment
    environments: dict[str, dict[str, Any]] = {}
    for step, environment in ran.items():
        shown = _environment(environment)
        startup_s = shown.pop("startup_seconds")
        known = environments.setdefault(repr(shown), {**shown, "steps": [], "startup_seconds": {}})
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


def inputs(found: Findings) -> dict[str, Any]:
    spec = found.study.spec
    return {
        "documents": _dataset(found.documents),
        "probes": _dataset(found.probes),
        "model": _model(found.model),
        "contenders": [_model(model) for role, model in found.models.items() if role != "model"],
        "generator": _model(found.generator) if found.generator else None,
        "judge": _model(found.judge) if found.judge else None,
        "answer_judge": _model(found.answer_judge) if found.answer_judge else None,
        "methods": list(spec.methods),
        "group_key": spec.group_key,
        "distinct_key": spec.distinct_key,
        "group_count": len(found.contexts),
        "clusters_by": found.clusters_by,
        "context_token_count": {
            "total": sum(found.contexts.values()),
            "largest": max(found.contexts.values(), default=0),
        },
        "question_count": spec.question_count,
        "tolerance": spec.tolerance,
        "seed": spec.seed,
        "training": MessageToDict(spec.training, preserving_proto_field_name=True),
        "augmentation": MessageToDict(spec.augmentation, preserving_proto_field_name=True),
        "spec": MessageToDict(spec, preserving_proto_field_name=True),
    }


def _model(model: trainer_pb2.Model) -> dict[str, Any]:
    return {
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
        "endpoint": model.endpoint.base_url if model.HasField("endpoint") else None,
    }


def _dataset(dataset: datasets_pb2.Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "title": dataset.display_name,
        "sha256": dataset.sha256,
        "row_count": dataset.row_count,
        "labels": dict(sorted(dataset.labels.items())),
    }
