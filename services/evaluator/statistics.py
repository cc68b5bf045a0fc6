"""A kind's mean with its interval. Pure. The mathematics: servicekit.clusters."""

from collections.abc import Sequence
from dataclasses import dataclass

from servicekit.clusters import clustered_mean, share


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
