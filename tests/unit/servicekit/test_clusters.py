"""Intervals over clusters of probes, with numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.clusters import clustered_mean, design, share, wilson
from servicekit.student import t_quantile, t_tail


def named(count: int, size: int = 1) -> list[str]:
    return [str(i // size) for i in range(count * size)]


def test_students_t_as_tabled() -> None:
    assert [round(t_quantile(0.975, df), 3) for df in (1, 2, 5, 10, 30, math.inf)] == [
        12.706,
        4.303,
        2.571,
        2.228,
        2.042,
        1.960,
    ]
    assert t_quantile(0.8, 10) == pytest.approx(0.8791, abs=1e-4)
    assert t_tail(0.0, 3.5) == pytest.approx(0.5)


def test_wilson_as_published() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(1.0, 10)[1] == 1.0


def test_ten_clusters_of_equal_answers_tell_no_more_than_ten_answers() -> None:
    values = [float(c < 5) for c in range(10) for _ in range(10)]
    together, apart = share(values, named(10, 10)), share(values, named(100))
    assert (together.effective_n, apart.effective_n) == (10, 100)
    assert (apart.low, apart.high) == pytest.approx(wilson(0.5, 100))
    assert together.low < wilson(0.5, 10)[0]  # nine degrees of freedom: wider still


def test_clusters_that_say_nothing_leave_the_plain_n() -> None:
    values = [0.0, 1.0] * 40  # every cluster answers half
    assert design(np.array(values), named(8, 10)) == (1.0, math.inf)
    assert share(values, named(8, 10)).effective_n == 80


def test_the_design_effect_by_hand() -> None:
    # Eight clusters of two: four agree (1, 1), (0, 0), ..., four differ. Mean square between 0.2857, within 0.25.
    values = [1.0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    icc = (2 / 7 - 0.25) / (2 / 7 + 0.25)
    effect, df = design(np.array(values), named(8, 2))
    assert effect == pytest.approx(1 + icc)
    assert df == pytest.approx(7 / (2 * icc / effect) ** 2)


def test_fewer_than_six_clusters_are_taken_as_given() -> None:
    values = [1.0] * 20 + [0.0] * 5
    assert share(values, named(5, 5)).effective_n == 25
    few, none = clustered_mean(values, named(5, 5), seed=1), clustered_mean(values, named(25), seed=1)
    assert few.fixed
    assert not none.fixed
    assert few.interval == none.interval
    assert not clustered_mean([*values, 0.0], [*named(5, 5), "x"]).fixed


def test_of_few_clusters_the_interval_is_about_their_own_mean() -> None:
    """Three groups that differ much, forty probes each: their own mean is held at least as often as promised."""
    generator = np.random.default_rng(0)
    truth_P = np.repeat([0.3, 0.6, 0.9], 40)
    held = 0
    for _ in range(400):
        found = share(list((generator.random(120) < truth_P).astype(float)), named(3, 40))
        held += found.low <= 0.6 <= found.high
    assert held / 400 >= 0.94


def test_the_bootstrap_agrees_with_student() -> None:
    values_C = np.random.default_rng(1).normal(0.3, 0.1, 12)
    found = clustered_mean(list(np.repeat(values_C, 5)), named(12, 5), least=-1, seed=1)
    stderr = values_C.std(ddof=1) / math.sqrt(12)
    assert found.stderr == pytest.approx(stderr)
    assert found.df == pytest.approx(11)
    assert np.diff(found.interval)[0] / 2 == pytest.approx(2.201 * stderr, rel=0.08)
    assert (
        found.interval
        == clustered_mean(list(np.repeat(values_C, 5)), named(12, 5), least=-1, seed=1).interval
    )
    assert found.detectable == pytest.approx((2.201 + 0.8755) * stderr, rel=1e-3)


def test_a_p_value_of_five_percent_at_the_ends_of_the_interval() -> None:
    values = np.random.default_rng(2).normal(0.1, 0.3, 200)
    found = clustered_mean(list(values), named(40, 5), least=-1, seed=3)
    assert found.p_value(found.interval[0]) == pytest.approx(0.05, abs=0.005)
    assert found.p_value(found.interval[1]) == pytest.approx(0.05, abs=0.005)
    assert found.p_value(found.value) == 1
    assert found.p_value(-1.0) < 1e-6  # further out than any resample


def test_a_cluster_with_most_of_the_probes_makes_them_count_as_few() -> None:
    values = list((np.random.default_rng(5).random(100) < 0.5).astype(float))
    even, uneven = named(10, 10), [*("0" * 64), *(str(1 + i // 4) for i in range(36))]
    assert clustered_mean(values, even).df == pytest.approx(9)
    assert clustered_mean(values, uneven).df == 2


def test_very_many_units_are_not_drawn_and_give_the_same() -> None:
    values = np.random.default_rng(4).normal(0.1, 0.5, 5001)
    many, drawn = (clustered_mean(values[:n], named(n), least=-1, seed=1) for n in (5001, 5000))
    assert many.interval == pytest.approx(drawn.interval, abs=2e-3)
    null = many.value - 2 * many.stderr
    assert many.p_value(null) == pytest.approx(0.0455, abs=1e-3)
    assert many.p_value(null) == pytest.approx(drawn.p_value(null), abs=5e-3)


@pytest.mark.parametrize(("n", "low"), [(3, -0.123), (10, 0.445), (100, 0.926)])
def test_probes_that_all_say_the_same_leave_room_for_doubt(n: int, low: float) -> None:
    found = clustered_mean([1.0] * n, named(n), least=-1)
    assert found.interval == (pytest.approx(low, abs=1e-3), 1.0)
    assert (found.p_value(0.0) < 0.05) == (low > 0)
    assert found.p_value(found.interval[0]) == pytest.approx(0.05)


def test_equal_answers_are_as_different_as_nobody_saw() -> None:
    found = clustered_mean([0.0] * 100, named(100), least=-1)
    assert found.interval == pytest.approx((-0.037, 0.037), abs=1e-3)
    assert found.detectable == pytest.approx(0.053, abs=2e-3)


def test_kinds_weigh_alike_and_a_kind_of_one_cluster_is_drawn_by_probe() -> None:
    kinds, clusters = ["reversal"] * 40 + ["list"] * 10, named(8, 5) + ["catalogue"] * 10
    found = clustered_mean([1.0] * 40 + [1.0, 0.0] * 5, clusters, kinds, seed=1)
    assert (found.value, found.fixed, len(found.parts_U)) == (0.75, True, 18)
    # Only the list varies: its own standard error 0.167, half of it in the mean of two kinds.
    assert found.stderr == pytest.approx(0.5 / 3 / 2, rel=0.01)


def test_a_cluster_stays_whole_over_its_kinds() -> None:
    """Worlds that differ in both kinds alike: the mean of the kinds is no surer than one kind."""
    values = list(np.tile(np.repeat([0.0, 1.0], 20), 2))
    clusters = named(10, 4) * 2
    both = clustered_mean(values, clusters, ["a"] * 40 + ["b"] * 40)
    one = clustered_mean(values[:40], clusters[:40])
    assert both.stderr == pytest.approx(one.stderr)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from("abcdefghij"), st.sampled_from("kl")),
        min_size=1,
        max_size=60,
    )
)
def test_intervals_hold_their_mean_and_stay_within_what_can_be(rows: list[tuple[float, str, str]]) -> None:
    values, clusters, kinds = zip(*rows, strict=True)
    found, plain = clustered_mean(values, clusters, kinds), share(values, clusters)
    assert 0 <= found.interval[0] <= found.value + 1e-9
    assert found.value - 1e-9 <= found.interval[1] <= 1
    assert 0 <= plain.low <= plain.value + 1e-12
    assert plain.value - 1e-12 <= plain.high <= 1
    assert plain.effective_n + 1e-9 >= 1
    assert plain.effective_n <= plain.n
    assert 0 <= found.p_value(0.5) <= 1
