"""Answers -> KindResults."""

from collections.abc import Sequence
from typing import Any

from ingrain.v1 import evaluator_pb2 as pb
from services.evaluator.metrics import expected_calibration_error
from services.evaluator.statistics import mean_with_interval

PROPORTIONS = ("acc", "exact_match")


def summarize(rows: Sequence[dict[str, Any]]) -> list[pb.KindResult]:
    """Per kind, in the order in which kinds first appear."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    return [_kind(kind, members) for kind, members in by_kind.items()]


def _kind(kind: str, rows: Sequence[dict[str, Any]]) -> pb.KindResult:
    metric = rows[0]["metric"]
    estimate = mean_with_interval(
        [row["value"] for row in rows], [row["cluster"] for row in rows], metric in PROPORTIONS
    )
    result = pb.KindResult(
        kind=kind,
        metric=metric,
        value=estimate.value,
        n=estimate.n,
        stderr=estimate.stderr,
        ci95_low=estimate.low,
        ci95_high=estimate.high,
    )
    for name in rows[0]["metrics"]:
        result.metrics[name] = sum(row["metrics"][name] for row in rows) / len(rows)
    if "chance" in rows[0]:
        result.chance = sum(row["chance"] for row in rows) / len(rows)
        result.tie_count = sum(row["tie"] for row in rows)
        result.metrics["ece"] = expected_calibration_error(
            [row["metrics"]["confidence"] for row in rows], [row["value"] for row in rows]
        )
    return result
