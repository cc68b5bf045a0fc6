import numpy as np
import pytest

from services.studies.statistics import Answers, answers, clustered_mean, pooled, pooled_difference


def made(values: list[float], kinds: list[str] | None = None, clusters: list[str] | None = None) -> Answers:
    n = len(values)
    return Answers(
        [str(i) for i in range(n)],
        kinds or ["k"] * n,
        clusters or [str(i) for i in range(n)],
        np.array(values),
    )


def test_pooled_weighs_kinds_alike_whatever_their_size() -> None:
    assert pooled(made([1, 1, 1, 0], kinds=["a", "a", "a", "b"])) == 0.5


def test_a_difference_is_paired_and_pooled() -> None:
    ours = made([1, 1, 0, 1], kinds=["a", "a", "a", "b"])
    theirs = made([0, 1, 0, 0], kinds=["a", "a", "a", "b"])
    found = pooled_difference(ours, theirs)
    assert found.value == pytest.approx((1 / 3 + 1) / 2)
    assert found.low <= found.value <= found.high


def test_equal_answers_differ_by_nothing() -> None:
    found = pooled_difference(made([1, 0, 1, 0]), made([1, 0, 1, 0]))
    assert (found.value, found.low, found.high, found.significant) == (0, 0, 0, False)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        clusters = [str(i // 5) for i in range(150)]
        by_cluster = np.repeat(rng.normal(0.2, 0.2, 30), 5)
        ours = made(list(by_cluster + rng.normal(0, 0.1, 150)), clusters=clusters)
        found = pooled_difference(ours, made([0.0] * 150, clusters=clusters))
        hits += found.low <= 0.2 <= found.high
    assert 88 <= hits <= 99


def test_clusters_that_answer_alike_widen_the_interval() -> None:
    values = [1.0] * 20 + [0.0] * 20
    alone = clustered_mean(made(values))
    together = clustered_mean(made(values, clusters=["a"] * 10 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10))
    assert alone[0] == together[0] == 0.5
    assert together[1] > 2 * alone[1]


def test_independent_probes_have_the_binomial_error() -> None:
    _, stderr, _, _ = clustered_mean(made([1.0] * 25 + [0.0] * 75))
    assert stderr == pytest.approx(np.sqrt(0.25 * 0.75 / 99))


def test_a_probe_without_a_cluster_is_its_own() -> None:
    rows = [{"id": "a", "kind": "k", "cluster": "", "value": 1}, {"id": "b", "kind": "k", "value": 0}]
    assert len(set(answers(rows).clusters)) == 2


def test_a_kind_of_a_single_cluster_is_drawn_by_probe_and_never_missing() -> None:
    kinds = ["reversal"] * 40 + ["list"] * 10
    clusters = [f"w{i // 10}" for i in range(40)] + ["catalogue"] * 10
    ours = made([1.0] * 40 + [1.0, 0.0] * 5, kinds, clusters)
    theirs = made([0.0] * 40 + [0.0] * 10, kinds, clusters)
    found = pooled_difference(ours, theirs)
    assert found.value == pytest.approx((1 + 0.5) / 2)
    # Only the list varies: +-0.31 on its own, half of it in the mean of two kinds.
    assert 0.55 <= found.low <= 0.65
    assert 0.85 <= found.high <= 0.95
