"""Statistics and probes, with numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import evaluator_pb2
from servicekit.errors import Invalid
from services.evaluator.asking import batches
from services.evaluator.compare import differences
from services.evaluator.estimate import sample_of
from services.evaluator.probes import probe_of, probes_of
from services.evaluator.statistics import mean_with_interval
from services.evaluator.summary import summarize


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
    assert (same.value, same.n) == (0, 2)
    assert same.ci95_low == pytest.approx(-same.ci95_high)
    assert same.ci95_high > 0.6  # two probes that agree promise little
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
