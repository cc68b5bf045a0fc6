"""Differences between evaluations of the same probes: paired by probe, resampled by cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.v1 import evaluator_pb2 as pb
from servicekit.clusters import clustered_mean
from servicekit.errors import Invalid

ALL = "all"
Rows = Sequence[Mapping[str, Any]]


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
    paired: dict[str, list[tuple[float, str]]] = {}
    for row in candidate_rows:
        if only and row["id"] not in only:
            continue
        value = row["value"] - baseline[row["id"]]["value"]
        for kind in (row["kind"], ALL):
            paired.setdefault(kind, []).append((value, row["cluster"]))
    return [_difference(candidate, kind, pairs, seed) for kind, pairs in paired.items()]


def _difference(candidate: str, kind: str, pairs: Sequence[tuple[float, str]], seed: int) -> pb.Difference:
    values, clusters = zip(*pairs, strict=True)
    found = clustered_mean(values, clusters, least=-1.0, seed=seed)
    low, high = found.interval
    return pb.Difference(
        candidate=candidate,
        kind=kind,
        value=found.value,
        ci95_low=low,
        ci95_high=high,
        n=found.n,
        cluster_count=found.cluster_count,
    )
