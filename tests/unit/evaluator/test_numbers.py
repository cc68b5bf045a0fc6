"""Statistics and probes, with numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import evaluator_pb2
from servicekit.errors import Invalid
from services.evaluator.asking import batches
from services.evaluator.compare import differences
from services.evaluator.estimate import sample_of
from services.evaluator.probes import probe_of, probes_of
from services.evaluator.statistics import bootstrap_mean, clustered_variance, mean_with_interval, wilson
from services.evaluator.summary import summarize


def test_wilson_as_published() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(1.0, 10)[1] == 1.0


def test_equal_clusters_leave_as_many_answers_as_clusters() -> None:
    """Ten clusters of ten equal answers tell no more than ten answers."""
    values = [float(c < 5) for c in range(10) for _ in range(10)]
    clusters = [str(c) for c in range(10) for _ in range(10)]
    assert clustered_variance(np.array(values), clusters) == pytest.approx(
        np.var([1] * 5 + [0] * 5, ddof=1) / 10
    )
    apart = mean_with_interval(values, [str(i) for i in range(100)], proportion=True)
    together = mean_with_interval(values, clusters, proportion=True)
    assert together.value == apart.value == 0.5
    assert together.high - together.low > 2.5 * (apart.high - apart.low)


def test_intervals_cover_the_truth() -> None:
    """500 studies of 20 worlds with 8 probes each; worlds differ. About 95 % of intervals hold the mean of worlds."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        shares_C = generator.beta(6, 4, 20)
        values = (generator.random((20, 8)) < shares_C[:, None]).astype(float).ravel()
        estimate = mean_with_interval(
            list(values), [str(c) for c in range(20) for _ in range(8)], proportion=True
        )
        covered += estimate.low <= 0.6 <= estimate.high
    assert 0.92 <= covered / 500 <= 0.985


def test_the_bootstrap_agrees_with_the_formula() -> None:
    generator = np.random.default_rng(1)
    values = list(generator.normal(0.3, 1.0, 400))
    clusters = [str(i // 10) for i in range(400)]
    low, high, count = bootstrap_mean(values, clusters, seed=1)
    half = 1.96 * clustered_variance(np.array(values), clusters) ** 0.5
    assert count == 40
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert bootstrap_mean(values, clusters, seed=1) == (low, high, count)


def test_probes_of_one_cluster_have_an_interval_all_the_same() -> None:
    values = [0.0, 1.0] * 20
    assert bootstrap_mean(values, ["w"] * 40, seed=1) == (
        *bootstrap_mean(values, [str(i) for i in range(40)], seed=1)[:2],
        1,
    )
    assert bootstrap_mean(values, ["w"] * 40, seed=1)[0] < 0.45


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from("abc")), min_size=1, max_size=40))
def test_intervals_hold_their_mean(rows: list[tuple[float, str]]) -> None:
    values, clusters = zip(*rows, strict=True)
    for proportion in (True, False):
        estimate = mean_with_interval(values, clusters, proportion)
        assert 0.0 <= estimate.low <= estimate.value + 1e-12
        assert estimate.value - 1e-12 <= estimate.high <= 1.0


def row(id: str, kind: str, cluster: str, value: float) -> dict[str, object]:
    return {
        "id": id,
        "kind": kind,
        "cluster": cluster,
        "metric": "acc",
        "value": value,
        "metrics": {"acc": value, "confidence": 0.75},
        "chance": 0.5,
        "tie": False,
    }


def test_summaries_are_per_kind_in_the_order_of_the_probes() -> None:
    rows = [row("1", "reversal", "a", 1.0), row("2", "forward", "a", 1.0), row("3", "reversal", "b", 0.0)]
    found = summarize(rows)
    assert [(result.kind, result.n, result.value, result.chance) for result in found] == [
        ("reversal", 2, 0.5, 0.5),
        ("forward", 1, 1.0, 0.5),
    ]


def test_differences_are_paired_by_probe() -> None:
    baseline = [row(str(i), "k", str(i % 5), float(i % 2)) for i in range(50)]
    better = [row(str(i), "k", str(i % 5), 1.0) for i in range(50)]
    found = differences("c", better[::-1], baseline, seed=0, only=set())
    assert [(d.kind, d.n, d.cluster_count) for d in found] == [("k", 50, 5), ("all", 50, 5)]
    assert found[0].value == 0.5
    assert isinstance(found[0], evaluator_pb2.Difference)
    same = differences("c", baseline, baseline, seed=0, only={"1", "2"})[0]
    assert (same.value, same.ci95_low, same.ci95_high, same.n) == (0, 0, 0, 2)
    with pytest.raises(Invalid):
        differences("c", better[1:], baseline, seed=0, only=set())


def test_probes_of_one_call_share_shape_and_context() -> None:
    rows = [
        {
            "id": f"c{i}",
            "kind": "k",
            "prompt": "p",
            "choices": ["a", "b"],
            "answer": "a",
            "metadata": {"world": i % 3},
        }
        for i in range(20)
    ] + [
        {"id": f"q{i}", "kind": "list", "question": "q?", "answers": ["a"], "metadata": {"world": 0}}
        for i in range(3)
    ]
    probes = [probe_of(r) for r in rows]
    cut = list(batches(probes, "world", 4))
    assert sorted(p.id for batch in cut for p in batch) == sorted(p.id for p in probes)
    assert all(
        len({(p.is_choice, p.value_of("world")) for p in batch}) == 1 and len(batch) <= 4 for batch in cut
    )


def test_probes_of_one_call_fit_a_message() -> None:
    row = {"kind": "k", "prompt": "字" * 200_000, "choices": ["a", "b"], "answer": "a"}  # three bytes each
    probes = probes_of([{**row, "id": str(i)} for i in range(10)])
    assert [len(batch) for batch in batches(probes, "", 128)] == [5, 5]
    assert [probe.id for probe in sample_of(probes)] == ["0", "1", "2"]
    assert len(sample_of(probes[:1])) == 1
    small = probes_of([{**row, "prompt": "p", "id": str(i)} for i in range(1000)])
    assert 200 <= len(sample_of(small)) <= 256


def test_a_kind_is_measured_in_one_way() -> None:
    rows = [
        {"id": "1", "kind": "who", "question": "Who?", "answers": ["a"]},
        {"id": "2", "kind": "whose", "question": "Whose?", "answers": ["a"]},
        {"id": "3", "kind": "whose", "question": "Whose?", "answers": ["a", "b"]},
        {"id": "4", "kind": "list", "question": "Which?", "answers": ["a"]},
        {"id": "5", "kind": "k", "prompt": "p", "choices": ["a", "b"], "answer": "b"},
    ]
    assert [probe.is_list for probe in probes_of(rows)] == [False, True, True, True, False]
    with pytest.raises(Invalid) as caught:
        probes_of([*rows, {"id": "6", "kind": "k", "question": "Who?", "answers": ["a"]}])
    assert (caught.value.reason, caught.value.field) == ("MIXED_KIND", "rows[5].kind")


def test_questions_are_asked_in_the_house_format_or_another() -> None:
    asked = {"id": "q", "kind": "list", "question": "Who?", "answers": ["a"]}
    assert probe_of(asked).prompt == "Question: Who?\nAnswer:"
    assert probe_of(asked, "Q: {question}").prompt == "Q: Who?"
