"""From answers to comparisons of methods. Pure. The mathematics: servicekit.clusters.

Shapes: P probes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from servicekit.clusters import ClusteredMean, clustered_mean

SIGNIFICANT = 0.05
# A kind of fewer probes is shown with its interval; no verdict rests on it.
LEAST_PROBES = 10
STABILITY_RESAMPLES = 2_000


@dataclass(frozen=True)
class Answers:
    """What one subject got: an entry per probe, in the order of the probes."""

    ids: Sequence[str]
    kinds: Sequence[str]
    clusters: Sequence[str]
    values: np.ndarray  # (P,), 0 to 1
    tied: int = 0  # forced choices of which several share the first place

    def where(self, mask: np.ndarray) -> "Answers":
        chosen: list[int] = np.flatnonzero(mask).tolist()
        return Answers(
            [self.ids[i] for i in chosen],
            [self.kinds[i] for i in chosen],
            [self.clusters[i] for i in chosen],
            self.values[chosen],
            self.tied,
        )

    def of_kinds(self, kinds: Iterable[str]) -> "Answers":
        wanted = set(kinds)
        return self.where(np.array([kind in wanted for kind in self.kinds], dtype=bool))

    def without(self, ids: Iterable[str]) -> "Answers":
        unwanted = set(ids)
        return self.where(np.array([id not in unwanted for id in self.ids], dtype=bool))


@dataclass(frozen=True)
class Comparison:
    """Candidate minus baseline, pooled over the kinds that count, paired by probe.

    p-values are two-sided: `p` of no difference at all, Holm-adjusted over all comparisons of a study; `p_margin` of a
    difference that the tolerance allows (1 where it is not exceeded), of this comparison alone. `detectable` is the smallest difference
    that the probes would show four times in five, at 5 % without adjustment.
    """

    candidate: str
    baseline: str
    value: float
    low: float
    high: float
    p: float
    p_margin: float
    detectable: float
    n: int
    cluster_count: int

    @property
    def significant(self) -> bool:
        return self.p < SIGNIFICANT

    @property
    def beyond(self) -> bool:
        """The two differ, and by more than the tolerance."""
        return self.significant and self.p_margin < SIGNIFICANT

    def turned(self) -> "Comparison":
        """Baseline minus candidate."""
        swapped = (self.baseline, self.candidate, -self.value, -self.high, -self.low)
        return Comparison(*swapped, self.p, self.p_margin, self.detectable, self.n, self.cluster_count)


def answers(rows: Iterable[Mapping[str, Any]]) -> Answers:
    """From the evaluator's result rows. A probe without a cluster is one of its own."""
    rows = list(rows)
    return Answers(
        [str(row["id"]) for row in rows],
        [str(row["kind"]) for row in rows],
        [str(row.get("cluster") or alone(row["id"])) for row in rows],
        np.array([float(row["value"]) for row in rows]),
        sum(_tied(row) for row in rows),
    )


def alone(id: object) -> str:
    """The cluster of a probe that stands for itself, which no document's id is."""
    return f"probe {id}"


def _tied(row: Mapping[str, Any]) -> bool:
    scores = sorted(row.get("scores") or ())
    return bool(row.get("tie", len(scores) > 1 and scores[-1] == scores[-2]))


def counted_kinds(subject: Answers) -> list[str]:
    """The kinds on which verdicts rest: those of enough probes; all of them where none has enough."""
    kinds = list(dict.fromkeys(subject.kinds))
    enough = [kind for kind in kinds if subject.kinds.count(kind) >= LEAST_PROBES]
    return enough or kinds


def pooled(subject: Answers, seed: int = 0) -> ClusteredMean:
    """The mean over kinds of the mean over a kind's probes."""
    return clustered_mean(subject.values, subject.clusters, subject.kinds, seed=seed)


def pooled_difference(candidate: Answers, baseline: Answers, seed: int = 0) -> ClusteredMean:
    """Candidate minus baseline, of the probes that both answered."""
    theirs = dict(zip(baseline.ids, baseline.values, strict=True))
    common = candidate.where(np.array([id in theirs for id in candidate.ids], dtype=bool))
    gaps_P = common.values - np.array([theirs[id] for id in common.ids])
    return clustered_mean(gaps_P, common.clusters, common.kinds, least=-1.0, seed=seed)


def mean_over_seeds(subjects: Sequence[Answers]) -> Answers:
    """Of each probe the mean over trainings that differ by their seed only; ties of all of them."""
    first = subjects[0]
    values_SP = np.stack([subject.values for subject in subjects])
    tied = sum(subject.tied for subject in subjects)
    return Answers(first.ids, first.kinds, first.clusters, values_SP.mean(0), tied)


def by_kind(candidate: Answers, baseline: Answers, seed: int = 0) -> Iterator[tuple[str, ClusteredMean]]:
    """Candidate minus baseline for each kind, of the probes that both answered."""
    for kind in dict.fromkeys(candidate.kinds):
        yield kind, pooled_difference(candidate.of_kinds([kind]), baseline.of_kinds([kind]), seed)


def stability(
    means: Mapping[str, ClusteredMean], totals: Mapping[str, float], tolerance: float, chosen: str, seed: int
) -> float:
    """Share of resampled probe sets in which `chosen` is the cheapest of those within the tolerance of the best.

    All are resampled alike: the same clusters are drawn for everyone.
    """
    names = sorted(means, key=lambda name: totals[name])
    generator = np.random.default_rng(seed)
    units = len(means[chosen].parts_U)
    drawn_RU = generator.integers(0, units, (STABILITY_RESAMPLES, units))
    values_RM = np.stack([means[name].value + means[name].parts_U[drawn_RU].sum(1) for name in names], axis=1)
    adequate_RM = values_RM >= values_RM.max(1, keepdims=True) - tolerance - 1e-12
    first_R = adequate_RM.argmax(1)  # the cheapest, for they are in the order of their costs
    return float((first_R == names.index(chosen)).mean())


def compare_all(subjects: Mapping[str, Answers], tolerance: float, seed: int = 0) -> list[Comparison]:
    """Every pair, each later one minus an earlier one, with p-values adjusted over all of them."""
    pairs = list(combinations(subjects, 2))
    means = [pooled_difference(subjects[later], subjects[earlier], seed) for earlier, later in pairs]
    ps = holm([mean.p_value(0.0) for mean in means])
    ps_margin = [_p_margin(mean, tolerance) for mean in means]
    return [
        Comparison(
            later, earlier, mean.value, *mean.interval, p, p_margin, mean.detectable, mean.n, mean.cluster_count
        )
        for (earlier, later), mean, p, p_margin in zip(pairs, means, ps, ps_margin, strict=True)
    ]  # fmt: skip


def _p_margin(mean: ClusteredMean, tolerance: float) -> float:
    if abs(mean.value) <= tolerance:
        return 1.0
    return mean.p_value(tolerance if mean.value > 0 else -tolerance)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted so that all that stay below a level are wrong together at most that often (Holm 1979)."""
    adjusted = [0.0] * len(ps)
    so_far = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        so_far = max(so_far, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = so_far
    return adjusted
