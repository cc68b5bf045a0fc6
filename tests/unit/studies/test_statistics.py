import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.studies.statistics import (
    Answers,
    answers,
    by_kind,
    compare_all,
    counted_kinds,
    holm,
    mean_over_seeds,
    pooled,
    pooled_difference,
    stability,
)


def made(values: list[float], kinds: list[str] | None = None, clusters: list[str] | None = None) -> Answers:
    n = len(values)
    return Answers(
        [str(i) for i in range(n)],
        kinds or ["k"] * n,
        clusters or [str(i) for i in range(n)],
        np.array(values),
    )


def test_pooled_weighs_kinds_alike_whatever_their_size() -> None:
    assert pooled(made([1, 1, 1, 0], kinds=["a", "a", "a", "b"])).value == 0.5


def test_a_difference_is_paired_and_pooled() -> None:
    ours = made([1, 1, 0, 1], kinds=["a", "a", "a", "b"])
    theirs = made([0, 1, 0, 0], kinds=["a", "a", "a", "b"])
    assert pooled_difference(ours, theirs).value == pytest.approx((1 / 3 + 1) / 2)
    reversed_order = theirs.where(np.array([False, True, True, True]))
    assert pooled_difference(ours, reversed_order).n == 3


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_plain_and_bonferroni_and_keeps_the_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    for p, q in zip(ps, adjusted, strict=True):
        assert p <= q <= min(1, len(ps) * p) + 1e-12
    order = np.argsort(ps, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(adjusted)


def test_every_pair_is_compared_with_p_values_for_nothing_and_for_the_tolerance() -> None:
    rng = np.random.default_rng(1)
    low, high = (rng.random(300) < 0.5).astype(float), (rng.random(300) < 0.9).astype(float)
    found = compare_all({"base": made(list(low)), "icl": made(list(high)), "same": made(list(high))}, 0.02)
    assert [(c.candidate, c.baseline) for c in found] == [("icl", "base"), ("same", "base"), ("same", "icl")]
    assert found[0].significant
    assert found[0].beyond
    assert found[0].p <= found[0].p_margin < 0.001
    assert (found[2].value, found[2].p, found[2].significant) == (0, 1, False)
    assert found[2].detectable < 0.03
    turned = found[0].turned()
    assert (turned.candidate, turned.low, turned.value) == ("base", -found[0].high, -found[0].value)


def test_a_difference_may_be_significant_and_within_the_tolerance() -> None:
    """Five points, tolerance ten: there is a difference, and it does not matter."""
    ours = made([1.0] * 50 + [0.0] * 950)
    (found,) = compare_all({"a": made([0.0] * 1000), "b": ours}, 0.1)
    assert (found.significant, found.beyond, found.p_margin) == (True, False, 1.0)


def test_a_kind_of_few_probes_does_not_count_unless_all_are_such() -> None:
    assert counted_kinds(made([1.0] * 13, kinds=["a"] * 10 + ["b"] * 3)) == ["a"]
    assert counted_kinds(made([1.0] * 6, kinds=["a"] * 3 + ["b"] * 3)) == ["a", "b"]


def test_three_probes_are_never_significant() -> None:
    (found,) = compare_all({"a": made([0.0] * 3), "b": made([1.0] * 3)}, 0.0)
    assert (found.value, found.significant) == (1.0, False)


def test_a_probe_without_a_cluster_is_its_own() -> None:
    rows = [{"id": "a", "kind": "k", "cluster": "", "value": 1}, {"id": "b", "kind": "k", "value": 0}]
    assert len(set(answers(rows).clusters)) == 2


def test_ties_are_counted_as_the_rows_say_or_as_their_scores_show() -> None:
    rows = [
        {"id": "a", "kind": "k", "value": 0, "scores": [-1.0, -1.0, -2.0]},
        {"id": "b", "kind": "k", "value": 0, "scores": [-1.0, -2.0, -2.0]},
        {"id": "c", "kind": "k", "value": 0, "scores": [-1.0, -1.0000001], "tie": True},
        {"id": "d", "kind": "list", "value": 0},
    ]
    assert answers(rows).tied == 2


def test_seeds_are_averaged_probe_by_probe() -> None:
    first = Answers(["a", "b"], ["k", "k"], ["x", "y"], np.array([1.0, 0.0]), tied=1)
    second = Answers(["a", "b"], ["k", "k"], ["x", "y"], np.array([1.0, 1.0]), tied=2)
    found = mean_over_seeds([first, second])
    assert found.values.tolist() == [1.0, 0.5]
    assert found.tied == 3


def subject(right: int, of: int = 60) -> Answers:
    """A probe in each of `of` clusters, the first `right` of them right."""
    ids = [str(i) for i in range(of)]
    return Answers(ids, ["k"] * of, ids, np.array([float(i < right) for i in range(of)]))


def test_a_clear_verdict_is_stable_and_a_close_one_is_not() -> None:
    totals = {"cheap": 1.0, "dear": 2.0}
    clear = {"cheap": pooled(subject(10)), "dear": pooled(subject(50))}
    assert stability(clear, totals, 0.02, "dear", 1) == 1.0
    assert stability(clear, totals, 0.02, "cheap", 1) == 0.0
    equal = {"cheap": pooled(subject(40)), "dear": pooled(subject(40))}
    assert stability(equal, totals, 0.02, "cheap", 1) == 1.0  # the same probes right: never apart
    close = {"cheap": pooled(subject(40)), "dear": pooled(subject(42))}
    assert 0.2 < stability(close, totals, 0.02, "cheap", 1) < 0.8


def test_differences_by_kind_are_paired() -> None:
    kinds = ["a", "b"] * 30
    one = Answers(subject(30).ids, kinds, subject(30).clusters, np.ones(60))
    other = Answers(subject(30).ids, kinds, subject(30).clusters, np.array([0.0, 1.0] * 30))
    found = {kind: mean.value for kind, mean in by_kind(one, other)}
    assert found == {"a": 1.0, "b": 0.0}
