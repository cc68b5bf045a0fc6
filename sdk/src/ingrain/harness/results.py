"""An evaluation as the results JSON that lm-evaluation-harness writes, read by what reads that tool's files.

Standard errors are that tool's (probes taken as independent). What it has no place for, such as intervals that know
about clusters, stands under the key `ingrain`.
"""

import math
from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from ingrain.harness.tasks import Task, higher_is_better
from ingrain.v1 import evaluator_pb2


def results_of(
    evaluation: evaluator_pb2.Evaluation, tasks: Sequence[Task], answers: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """`answers` are the rows of ReadResults."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in answers:
        by_kind.setdefault(row["kind"], []).append(row)
    kinds = {result.kind: result for result in evaluation.kinds}
    model = evaluation.subject.model
    return {
        "results": {task.name: _metrics(task, kinds[task.kind], by_kind[task.kind]) for task in tasks},
        "group_subtasks": {},
        "configs": {task.name: task.config for task in tasks},
        "versions": {task.name: task.config["metadata"]["version"] for task in tasks},
        "n-shot": {task.name: 0 for task in tasks},
        "higher_is_better": {
            task.name: {metric: higher_is_better(metric) for metric in sorted(kinds[task.kind].metrics)}
            for task in tasks
        },
        "n-samples": {
            task.name: {"original": len(task.rows), "effective": kinds[task.kind].n} for task in tasks
        },
        "config": {
            "model": "ingrain",
            "model_args": {"model": model, "dataset": evaluation.subject.context.dataset},
            "model_dtype": evaluation.environment.dtype,
            "model_sha": evaluation.model_sha256,
            "device": evaluation.environment.device,
            "limit": None,
        },
        "date": evaluation.create_time.ToNanoseconds() / 1e9,
        "model_source": "ingrain",
        "model_name": model,
        "model_name_sanitized": model.replace("/", "__"),
        "total_evaluation_time_seconds": str(evaluation.cost.wall_seconds),
        "ingrain": _ours(evaluation, tasks),
    }


def _metrics(
    task: Task, result: evaluator_pb2.KindResult, answers: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": task.name, "alias": task.name, "sample_len": result.n}
    for metric in sorted(result.metrics):
        found[f"{metric},none"] = result.metrics[metric]
        values = [row["metrics"][metric] for row in answers if metric in row["metrics"]]
        found[f"{metric}_stderr,none"] = _stderr(values) if len(values) > 1 else "N/A"
    return found


def _stderr(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))


def _ours(evaluation: evaluator_pb2.Evaluation, tasks: Sequence[Task]) -> dict[str, Any]:
    shown = MessageToDict(evaluation, preserving_proto_field_name=True)
    by_kind = {kind["kind"]: kind for kind in shown.pop("kinds", [])}
    return {
        **shown,
        "schema": "ingrain.lm_eval/1",
        "tasks": {task.name: by_kind[task.kind] for task in tasks},
    }
