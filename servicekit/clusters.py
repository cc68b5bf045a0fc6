"""Means over probes that come in clusters: standard errors, 95 % intervals, p-values. Pure; numpy only.

Probes of one cluster (a document, a world) share their difficulty, so they tell less than as many independent ones.
What is used where, and why: docs/decisions/0004-what-the-probes-can-tell.md.

Shapes: P probes, C clusters, K kinds, U units that are drawn (clusters or probes), R resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from servicekit.student import t_quantile, t_tail

Values = Sequence[float] | np.ndarray

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
RESAMPLES = 10_000
# Fewer clusters are no sample of clusters: they are taken as given, and their probes are what varies.
LEAST_CLUSTERS = 6
# Resamples beyond a point that an estimate of the tail needs; further out it is taken as that of Student's t.
LEAST_IN_TAIL = 10
# What clusters are taken to share where only their sizes are to be weighed.
USUAL_ICC = 0.1
# Where one or two clusters hold most of the probes; fewer would say nothing at all.
LEAST_DF = 2.0
# Of more units the resamples would be normal, and take long.
MOST_DRAWN = 5_000


@dataclass(frozen=True)
class Share:
    """A mean of values within 0 and 1 with Wilson's 95 % interval on the effective number of probes."""

    value: float
    n: int
    effective_n: float
    stderr: float
    low: float
    high: float


def share(values: Values, clusters: Sequence[str]) -> Share:
    values_P = np.asarray(values, dtype=float)
    n, mean = len(values_P), float(values_P.mean())
    design_effect, df = design(values_P, clusters)
    effective_n = n / design_effect
    variance = float(values_P.var(ddof=1)) / effective_n if n > 1 else 0.0
    # Korn and Graubard (1998): fewer still, for the design effect itself is an estimate.
    low, high = wilson(mean, effective_n * (Z95 / t_quantile(0.975, df)) ** 2)
    return Share(mean, n, effective_n, math.sqrt(variance), low, high)


def design(values_P: np.ndarray, clusters: Sequence[str]) -> tuple[float, float]:
    """Kish's design effect of the mean, 1 + (m - 1) * ICC, and the degrees of freedom of what it says.

    m is the size-weighted mean size of a cluster. ICC by the analysis of variance, kept within 0 and 1: where
    clusters do not differ by more than chance, the effect is 1 and all n count. Degrees of freedom by Satterthwaite:
    C - 1 for the share of the variance that is between clusters, no limit for the rest, which is binomial.
    """
    n = len(values_P)
    cluster_P, sizes_C = _numbered(clusters)
    count = len(sizes_C)
    if count < LEAST_CLUSTERS or count == n:
        return 1.0, math.inf
    means_C = np.bincount(cluster_P, weights=values_P) / sizes_C
    between = float((sizes_C * (means_C - values_P.mean()) ** 2).sum()) / (count - 1)
    within = float(((values_P - means_C[cluster_P]) ** 2).sum()) / (n - count)
    weighted_size = float((sizes_C**2).sum()) / n
    usual_size = (n - weighted_size) / (count - 1)
    total = between + (usual_size - 1) * within
    icc = min(1.0, max(0.0, (between - within) / total)) if total > 0 else 0.0
    effect = 1 + (weighted_size - 1) * icc
    share_between = weighted_size * icc / effect
    return effect, (count - 1) / share_between**2 if share_between else math.inf


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927), 95 %."""
    denominator = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / denominator
    half = Z95 / denominator * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


@dataclass(frozen=True)
class ClusteredMean:
    """The mean over kinds of the mean over a kind's probes, and how it varies when its units are drawn anew.

    `fixed`: some kind has too few clusters to be a sample of clusters. `least`, `most`: what a value can be.
    """

    value: float
    n: int
    cluster_count: int
    fixed: bool
    parts_U: np.ndarray  # what each unit adds to the value beyond its due; they sum to 0
    df: float
    least: float
    most: float
    seed: int

    @property
    def stderr(self) -> float:
        return float(np.sqrt((self.parts_U**2).sum()))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 %: percentiles of the resamples, taken as far out as Student's t asks for (Hesterberg 2015)."""
        if not self._varies:
            # All values alike: as many may yet differ as Wilson leaves room for, and by all that they can.
            _, doubt = wilson(0.0, len(self.parts_U))
            return (
                self.value - doubt * (self.value - self.least),
                self.value + doubt * (self.most - self.value),
            )
        t = t_quantile(0.975, self.df)
        tail = NORMAL.cdf(-t)
        low, high = -t * self.stderr, t * self.stderr
        if self._drawn and tail * RESAMPLES >= LEAST_IN_TAIL:
            low, high = np.quantile(self._deviations_R, [tail, 1 - tail])
        return max(self.least, self.value + float(low)), min(self.most, self.value + float(high))

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided: the level at which the interval would just reach `null`."""
        gap = abs(self.value - null)
        if gap == 0:
            return 1.0
        if not self._varies:
            moved = gap / (self.value - self.least if null < self.value else self.most - self.value)
            return 2 * NORMAL.cdf(-math.sqrt(len(self.parts_U) * moved / max(1e-9, 1 - moved)))
        score = gap / self.stderr
        if self._drawn:
            beyond = self._beyond(-gap if null < self.value else gap)
            score = max(score, -NORMAL.inv_cdf(LEAST_IN_TAIL / RESAMPLES))
            if beyond >= LEAST_IN_TAIL / RESAMPLES:
                score = max(0.0, -NORMAL.inv_cdf(beyond))
        return 2 * t_tail(score, self.df)

    @property
    def detectable(self) -> float:
        """The smallest true value, of either sign, that two-sided 5 % would tell from 0 four times in five."""
        low, high = self.interval
        stderr = self.stderr if self._varies else (high - low) / 2 / t_quantile(0.975, self.df)
        return min(1.0, (t_quantile(0.975, self.df) + t_quantile(0.8, self.df)) * stderr)

    @property
    def _varies(self) -> bool:
        return self.stderr > 1e-12

    @property
    def _drawn(self) -> bool:
        return len(self.parts_U) <= MOST_DRAWN

    def _beyond(self, deviation: float) -> float:
        """Share of the resamples that are at least as far out, and never all: their own value lies within."""
        drawn_R = self._deviations_R
        if deviation < 0:
            found = float(np.searchsorted(drawn_R, deviation, side="right")) / len(drawn_R)
        else:
            found = 1 - float(np.searchsorted(drawn_R, deviation, side="left")) / len(drawn_R)
        return min(found, 1 - 1 / RESAMPLES)

    @cached_property
    def _deviations_R(self) -> np.ndarray:
        """Of the resamples from the value, sorted. Those of a difference each with its mirror image: two methods that are
        equal differ to either side alike, so the skewness of the few clusters that were seen is noise."""
        generator = np.random.default_rng(self.seed)
        count = len(self.parts_U)
        sums_R = np.empty(RESAMPLES)
        piece = max(1, 2_000_000 // count)  # resamples times units would not always fit
        for start in range(0, RESAMPLES, piece):
            drawn = generator.integers(0, count, (min(piece, RESAMPLES - start), count))
            sums_R[start : start + len(drawn)] = self.parts_U[drawn].sum(1)
        return np.sort(np.concatenate([sums_R, -sums_R]) if self.least == -self.most else sums_R)


def clustered_mean(
    values: Values,
    clusters: Sequence[str],
    kinds: Sequence[str] | None = None,
    least: float = 0.0,
    most: float = 1.0,
    seed: int = 0,
) -> ClusteredMean:
    """Paired differences come in as `values` (with `least` -1), so that a probe's two answers stay together.

    Of a kind with too few clusters the probes are the units, of any other the clusters; a cluster stays whole over
    its kinds. Resamples are of the linearised mean, so that every one of them has every kind.
    """
    values_P = np.asarray(values, dtype=float)
    cluster_P, sizes_C = _numbered(clusters)
    kind_P, sizes_K = _numbered(kinds if kinds is not None else [""] * len(values_P))
    means_K = np.bincount(kind_P, weights=values_P) / sizes_K
    few_K = [len(np.unique(cluster_P[kind_P == kind])) < LEAST_CLUSTERS for kind in range(len(sizes_K))]
    own_unit_P = len(sizes_C) + np.arange(len(values_P))
    _, unit_P = np.unique(np.where(np.array(few_K)[kind_P], own_unit_P, cluster_P), return_inverse=True)

    residuals_UK = np.zeros((int(unit_P.max()) + 1, len(sizes_K)))
    weights_UK = np.zeros_like(residuals_UK)
    np.add.at(residuals_UK, (unit_P, kind_P), (values_P - means_K[kind_P]) / sizes_K[kind_P])
    np.add.at(weights_UK, (unit_P, kind_P), 1 / sizes_K[kind_P])
    # A unit pulls the mean towards itself; Bell and McCaffrey's CR2 (2002) gives its residual back what that takes.
    parts_U = (residuals_UK / np.sqrt(np.maximum(1 - weights_UK, 1e-9))).sum(1) / len(sizes_K)
    # Units of different size are worth fewer than they are many: Satterthwaite, with an ICC that is usual.
    pulls_U = weights_UK.sum(1) ** 2 * (USUAL_ICC + (1 - USUAL_ICC) / np.bincount(unit_P))
    worth = float(pulls_U.sum() ** 2 / (pulls_U**2).sum())
    return ClusteredMean(
        value=float(means_K.mean()),
        n=len(values_P),
        cluster_count=len(sizes_C),
        fixed=any(few_K) and len(sizes_C) < len(values_P),
        parts_U=parts_U - parts_U.mean(),
        df=max(LEAST_DF, worth - 1),
        least=least,
        most=most,
        seed=seed,
    )


def _numbered(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each one's number (P,), and how often each number occurs."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    number_P = np.array([numbers[name] for name in names])
    return number_P, np.bincount(number_P)
