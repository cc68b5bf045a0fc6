"""A kind's mean with its interval. Pure. The mathematics: servicekit.clusters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from servicekit.clusters import RESAMPLES, clustered_mean, share


@dataclass(frozen=True)
class Estimate:
    value: float
    n: int
    stderr: float
    low: float
    high: float


def mean_with_interval(values: Sequence[float], clusters: Sequence[str], proportion: bool) -> Estimate:
    """95 %: Wilson on the effective n for proportions, the clustered bootstrap for means within 0 and 1."""
    if proportion:
        found = share(values, clusters)
        return Estimate(found.value, found.n, found.stderr, found.low, found.high)
    mean = clustered_mean(values, clusters)
    low, high = mean.interval
    return Estimate(mean.value, mean.n, mean.stderr, low, high)


def ratio_with_interval(
    above: Sequence[float], below: Sequence[float], clusters: Sequence[str], seed: int = 0
) -> Estimate:
    """sum(above) / sum(below), with the percentile bootstrap over clusters; 95 %, 10,000 resamples.

    Of a single cluster nothing can be drawn anew: its interval is a point.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    cluster_P = np.array([numbers[name] for name in clusters])
    above_C = np.bincount(cluster_P, weights=np.asarray(above, dtype=float))
    below_C = np.bincount(cluster_P, weights=np.asarray(below, dtype=float))
    generator, count = np.random.default_rng(seed), len(numbers)
    ratios_R = np.empty(RESAMPLES)
    piece = max(1, 2_000_000 // count)  # resamples times clusters would not always fit
    for start in range(0, RESAMPLES, piece):
        drawn = generator.integers(0, count, (min(piece, RESAMPLES - start), count))
        ratios_R[start : start + len(drawn)] = above_C[drawn].sum(1) / below_C[drawn].sum(1)
    low, high = np.quantile(ratios_R, [0.025, 0.975])
    value = float(above_C.sum() / below_C.sum())
    return Estimate(value, len(above), float(ratios_R.std()), float(low), float(high))
