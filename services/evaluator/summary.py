"""Answers -> KindResults."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.v1 import evaluator_pb2 as pb
from services.evaluator.metrics import BITS_PER_BYTE, expected_calibration_error, text_likelihood
from services.evaluator.statistics import Estimate, mean_with_interval, ratio_with_interval

PROPORTIONS = ("acc", "exact_match")


def summarize(rows: Sequence[dict[str, Any]]) -> list[pb.KindResult]:
    """Per kind, in the order in which kinds first appear."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    return [_kind(kind, members) for kind, members in by_kind.items()]


def _kind(kind: str, rows: Sequence[dict[str, Any]]) -> pb.KindResult:
    metric = rows[0]["metric"]
    estimate = headline(rows)
    result = pb.KindResult(
        kind=kind,
        metric=metric,
        value=estimate.value,
        n=estimate.n,
        stderr=estimate.stderr,
        ci95_low=estimate.low,
        ci95_high=estimate.high,
    )
    for name, value in _means(rows).items():
        result.metrics[name] = value
    if "chance" in rows[0]:
        result.chance = sum(row["chance"] for row in rows) / len(rows)
        result.tie_count = sum(row["tie"] for row in rows)
        result.metrics["ece"] = expected_calibration_error(
            [row["metrics"]["confidence"] for row in rows], [row["value"] for row in rows]
        )
    covered = [row for row in rows if row.get("supported")]
    if any("supported" in row for row in rows):
        result.supported_count = len(covered)
    if covered:
        result.supported_value = headline(covered).value
    return result


def headline(rows: Sequence[dict[str, Any]]) -> Estimate:
    """Of rows of one metric. Texts count as one long text, all else each for itself."""
    clusters = [row["cluster"] for row in rows]
    if rows[0]["metric"] == BITS_PER_BYTE:
        return ratio_with_interval(
            [bits_of(row) for row in rows], [row["byte_count"] for row in rows], clusters
        )
    proportion = rows[0]["metric"] in PROPORTIONS
    return mean_with_interval([row["value"] for row in rows], clusters, proportion)


def bits_of(row: Mapping[str, Any]) -> float:
    """What is left to be said of a text, in bits."""
    return -float(row["loglikelihood"]) / math.log(2)


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    if rows[0]["metric"] == BITS_PER_BYTE:
        sums = {
            name: sum(row[name] for row in rows) for name in ("loglikelihood", "byte_count", "word_count")
        }
        return text_likelihood(sums["loglikelihood"], sums["byte_count"], sums["word_count"])
    return {name: sum(row["metrics"][name] for row in rows) / len(rows) for name in rows[0]["metrics"]}
