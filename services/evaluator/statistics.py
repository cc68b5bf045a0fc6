"""Means with intervals that know which probes belong together. Pure; numpy only.

Probes of one cluster (a world, a document) share their difficulty, so n probes tell less than n independent ones.
The design effect (Kish 1965) says how much less: n_eff = n * SRS variance of the mean / clustered variance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    value: float
    n: int
    stderr: float
    low: float
    high: float


def mean_with_interval(values: Sequence[float], clusters: Sequence[str], proportion: bool) -> Estimate:
    """95 %: Wilson on the effective n for proportions, normal and cut to [0, 1] for other metrics.

    One cluster alone says nothing about how clusters differ; its probes are then taken as independent.
    """
    v_N = np.asarray(values, dtype=float)
    n, mean = len(v_N), float(v_N.mean())
    independent = float(v_N.var(ddof=1) / n) if n > 1 else 0.0
    clustered = clustered_variance(v_N, clusters)
    # Never narrower than independent probes: with few clusters the clustered variance is itself a poor estimate.
    variance = max(independent, clustered)
    stderr = math.sqrt(variance)
    if proportion:
        effective_n = n * independent / variance if variance > 0 and independent > 0 else float(n)
        low, high = wilson(mean, effective_n)
    else:
        low, high = max(0.0, mean - Z95 * stderr), min(1.0, mean + Z95 * stderr)
    return Estimate(mean, n, stderr, low, high)


def clustered_variance(values_N: np.ndarray, clusters: Sequence[str]) -> float:
    """Variance of the mean by sums over clusters, with the small-sample factor C / (C - 1); 0 for one cluster."""
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    count = len(names)
    if count < 2:
        return 0.0
    index_N = np.array([names[cluster] for cluster in clusters])
    residual_sums_C = np.bincount(index_N, weights=values_N - values_N.mean(), minlength=count)
    return float(count / (count - 1) * (residual_sums_C**2).sum() / len(values_N) ** 2)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927), 95 %."""
    denominator = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / denominator
    half = Z95 / denominator * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def bootstrap_mean(values: Sequence[float], clusters: Sequence[str], seed: int) -> tuple[float, float, int]:
    """95 % percentile interval of the mean, resampling whole clusters; and the number of clusters.

    Paired differences come in as `values`: a probe's two answers then stay together. One cluster alone says nothing
    about how clusters differ; its probes are then taken as independent.
    """
    count = len(set(clusters))
    units = clusters if count > 1 else [str(index) for index in range(len(values))]
    names = {name: index for index, name in enumerate(dict.fromkeys(units))}
    index_N = np.array([names[unit] for unit in units])
    sums_C = np.bincount(index_N, weights=np.asarray(values, dtype=float), minlength=len(names))
    counts_C = np.bincount(index_N, minlength=len(names))
    generator = np.random.default_rng(seed)
    means_R = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, 1000):  # in pieces: resamples times clusters would not always fit
        drawn_RC = generator.integers(0, len(names), (min(1000, RESAMPLES - start), len(names)))
        means_R[start : start + len(drawn_RC)] = sums_C[drawn_RC].sum(1) / counts_C[drawn_RC].sum(1)
    low, high = np.percentile(means_R, [2.5, 97.5])
    return float(low), float(high), count
