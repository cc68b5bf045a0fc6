"""Means and paired differences over clusters of probes. Pure.

Shapes: P probes, C clusters, K kinds, R resamples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Answers:
    """What one subject got: an entry per probe, in the order of the probes."""

    ids: Sequence[str]
    kinds: Sequence[str]
    clusters: Sequence[str]
    values: np.ndarray  # (P,), 0 to 1

    def where(self, mask: np.ndarray) -> "Answers":
        chosen: list[int] = np.flatnonzero(mask).tolist()
        return Answers(
            [self.ids[i] for i in chosen],
            [self.kinds[i] for i in chosen],
            [self.clusters[i] for i in chosen],
            self.values[chosen],
        )


@dataclass(frozen=True)
class Interval:
    """A difference with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        return self.low > 0 or self.high < 0


def answers(rows: Iterable[Mapping[str, Any]]) -> Answers:
    """From the evaluator's result rows. A probe without a cluster is one of its own."""
    rows = list(rows)
    return Answers(
        [str(row["id"]) for row in rows],
        [str(row["kind"]) for row in rows],
        [str(row.get("cluster") or f"probe {row['id']}") for row in rows],
        np.array([float(row["value"]) for row in rows]),
    )


def pooled(subject: Answers) -> float:
    """The mean over kinds of the mean over a kind's probes."""
    kinds = np.array(subject.kinds)
    return float(np.mean([subject.values[kinds == kind].mean() for kind in dict.fromkeys(subject.kinds)]))


def pooled_difference(candidate: Answers, baseline: Answers, seed: int = 0) -> Interval:
    """Candidate minus baseline, pooled over kinds, paired by probe; percentile bootstrap over whole clusters.

    Clusters are drawn among those that hold the same kinds, so that every resample has every kind. Where there is
    only one such cluster, nothing can be said about clusters, and its probes are drawn instead.
    """
    position = {id: i for i, id in enumerate(baseline.ids)}
    pairs = [(i, position[id]) for i, id in enumerate(candidate.ids) if id in position]
    if not pairs:
        return Interval(0.0, 0.0, 0.0)
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    difference_P = candidate.values[ours] - baseline.values[theirs]
    kinds, kind_P = np.unique([candidate.kinds[i] for i in ours], return_inverse=True)
    _, cluster_P = np.unique([candidate.clusters[i] for i in ours], return_inverse=True)
    sums_CK, counts_CK = _by_cluster(difference_P, kind_P, cluster_P, len(kinds))
    value = float((sums_CK.sum(0) / counts_CK.sum(0)).mean())

    rng = np.random.default_rng(seed)
    sums_RK, counts_RK = np.zeros((RESAMPLES, len(kinds))), np.zeros((RESAMPLES, len(kinds)))
    strata, stratum_C = np.unique(counts_CK > 0, axis=0, return_inverse=True)
    for stratum in range(len(strata)):
        chosen_C = stratum_C.ravel() == stratum
        sums, counts = sums_CK[chosen_C], counts_CK[chosen_C]
        if len(sums) == 1:
            mine_P = chosen_C[cluster_P]
            each_P = np.arange(mine_P.sum())
            sums, counts = _by_cluster(difference_P[mine_P], kind_P[mine_P], each_P, len(kinds))
        drawn_RC = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
        sums_RK += drawn_RC @ sums
        counts_RK += drawn_RC @ counts
    # Only where probes of several kinds were drawn one by one can a kind be missing; the others then stand for it.
    means_RK = np.divide(sums_RK, counts_RK, out=np.full_like(sums_RK, np.nan), where=counts_RK > 0)
    low, high = np.percentile(np.nanmean(means_RK, axis=1), [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _by_cluster(
    values_P: np.ndarray, kind_P: np.ndarray, cluster_P: np.ndarray, kind_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts, (C, K) each."""
    sums_CK = np.zeros((int(cluster_P.max()) + 1, kind_count))
    counts_CK = np.zeros_like(sums_CK)
    np.add.at(sums_CK, (cluster_P, kind_P), values_P)
    np.add.at(counts_CK, (cluster_P, kind_P), 1)
    return sums_CK, counts_CK


def clustered_mean(subject: Answers) -> tuple[float, float, float, float]:
    """Mean, standard error over clusters, and the 95 % interval (normal, kept within 0 and 1)."""
    values_P = subject.values
    mean = float(values_P.mean())
    _, cluster_P = np.unique(subject.clusters, return_inverse=True)
    residual_C = np.bincount(cluster_P, weights=values_P - mean)
    cluster_count = len(residual_C)
    correction = cluster_count / (cluster_count - 1) if cluster_count > 1 else 1.0
    stderr = float(np.sqrt(correction * (residual_C**2).sum()) / len(values_P))
    return mean, stderr, max(0.0, mean - 1.96 * stderr), min(1.0, mean + 1.96 * stderr)
