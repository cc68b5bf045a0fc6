"""Differences between evaluations of the same probes: paired by probe, resampled by cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.v1 import evaluator_pb2 as pb
from servicekit.clusters import clustered_mean
from servicekit.errors import Invalid
from services.evaluator.metrics import BITS_PER_BYTE
from services.evaluator.statistics import ratio_with_interval
from services.evaluator.summary import bits_of

ALL = "all"
Rows = Sequence[Mapping[str, Any]]
Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


def differences(
    candidate: str, candidate_rows: Rows, baseline_rows: Rows, seed: int, only: set[str]
) -> list[pb.Difference]:
    """One per kind, and `all` for the probes of every kind together."""
    baseline = {row["id"]: row for row in baseline_rows}
    if {row["id"] for row in candidate_rows} != set(baseline):
        raise Invalid(
            "OTHER_PROBES",
            f"{candidate} was asked other probes than the baseline; compare like with like",
            field="candidates",
        )
    paired: dict[str, list[Pair]] = {}
    for row in candidate_rows:
        if only and row["id"] not in only:
            continue
        other = baseline[row["id"]]
        if other["metric"] != row["metric"]:
            raise Invalid(
                "OTHER_METRIC",
                f"{candidate} answered probe {row['id']!r} by {row['metric']}, the baseline by {other['metric']}: "
                "evaluate both with the same `asking`",
                field="candidates",
            )
        for kind in (row["kind"], ALL):
            paired.setdefault(kind, []).append((row, other))
    return [_difference(candidate, kind, pairs, seed) for kind, pairs in paired.items()]


def _difference(candidate: str, kind: str, pairs: Sequence[Pair], seed: int) -> pb.Difference:
    clusters = [row["cluster"] for row, _ in pairs]
    metrics = {row["metric"] for row, _ in pairs}
    difference = pb.Difference(
        candidate=candidate,
        kind=kind,
        n=len(pairs),
        cluster_count=len(set(clusters)),
        metric=metrics.pop() if len(metrics) == 1 else "",
    )
    if difference.metric == BITS_PER_BYTE:
        # Of the same texts: what is left to be said less, per byte of all of them.
        bits = [bits_of(row) - bits_of(other) for row, other in pairs]
        ratio = ratio_with_interval(bits, [row["byte_count"] for row, _ in pairs], clusters, seed)
        difference.value, difference.ci95_low, difference.ci95_high = ratio.value, ratio.low, ratio.high
    else:
        values = [row["value"] - other["value"] for row, other in pairs]
        found = clustered_mean(values, clusters, least=-1.0, seed=seed)
        difference.value, (difference.ci95_low, difference.ci95_high) = found.value, found.interval
    return difference
