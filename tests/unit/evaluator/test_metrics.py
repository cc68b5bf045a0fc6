"""Metrics of choices and of written answers, with numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.matching import answer_match, list_match, normalized
from servicekit.errors import Invalid
from services.evaluator import metrics
from services.evaluator.judging import RUBRIC, check_rubric, prompt_of
from services.evaluator.probes import probe_of
from services.evaluator.summary import summarize


def accuracies(sums: list[float], tokens: list[int], choices: list[str], right: set[int]) -> list[float]:
    found = metrics.forced_choice(sums, tokens, choices, right)
    return [found[name] for name in ("acc", "acc_norm", "acc_bytes", "acc_token_norm")]


def test_four_ways_to_choose_disagree_where_lengths_do() -> None:
    # Per token -3/1 and -4/2; per character -3/2 and -4/3; per byte -3/2 and -4/9.
    assert accuracies([-3.0, -4.0], [1, 2], ["ab", "字字字"], {0}) == [1.0, 0.0, 0.0, 0.0]
    assert accuracies([-3.0, -4.0], [3, 2], ["abc", "ab"], {0}) == [1.0, 1.0, 1.0, 1.0]
    # Per character -4/4 against -3/2, per byte -4/4 against -3/6: only bytes prefer the second.
    assert accuracies([-4.0, -3.0], [1, 1], ["abcd", "字字"], {0}) == [0.0, 1.0, 0.0, 0.0]


def test_a_tie_is_right_only_if_all_in_it_are() -> None:
    same = ["ab", "cd", "ef"]
    assert accuracies([-3.0, -3.0, -9.0], [1, 1, 1], same, {0}) == [0.0] * 4
    assert accuracies([-3.0, -3.0, -9.0], [1, 1, 1], same, {0, 1}) == [1.0] * 4
    assert accuracies([-3.0, -3.00005, -9.0], [1, 1, 1], same, {0})[0] == 0.0
    assert accuracies([-3.0, -3.00015, -9.0], [1, 1, 1], same, {0}) == [1.0] * 4
    assert metrics.is_tie([-3.0, -3.00005])
    assert not metrics.is_tie([-3.0, -3.00015])


@given(st.lists(st.floats(-50, 0), min_size=2, max_size=6), st.data())
def test_the_place_of_the_right_choice_does_not_matter(sums: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(sums))))
    choices = ["x" * (index + 1) for index in range(len(sums))]
    tokens = [index % 3 + 1 for index in range(len(sums))]
    turned = metrics.forced_choice(
        [sums[i] for i in order], [tokens[i] for i in order], [choices[i] for i in order], {order.index(0)}
    )
    assert turned == pytest.approx(metrics.forced_choice(sums, tokens, choices, {0}))


def test_calibration_with_numbers() -> None:
    found = metrics.forced_choice([math.log(0.06), math.log(0.02)], [1, 1], ["a", "b"], {0})
    assert found["confidence"] == pytest.approx(0.75)
    assert found["brier_score"] == pytest.approx(0.25**2 + 0.25**2)
    wrong = metrics.forced_choice([-1000.0, 0.0], [1, 1], ["a", "b"], {0})
    assert (wrong["brier_score"], wrong["confidence"]) == (2.0, 1.0)
    assert metrics.brier_score([0.5, 0.5, 0.0], {0, 1}) == 0.0
    # Two bins: (0.6, 0.667] with one of two right, (0.933, 1] with two of two.
    ece = metrics.expected_calibration_error([0.65, 0.61, 1.0, 0.98], [1.0, 0.0, 1.0, 1.0])
    assert ece == pytest.approx((abs(1 - 1.26) + abs(2 - 1.98)) / 4)
    # On the border of two bins the lower one: 1/15 lies with 0.06, not with 0.07.
    assert metrics.expected_calibration_error([1 / 15, 0.06], [0.0, 0.0]) == pytest.approx(
        (1 / 15 + 0.06) / 2
    )


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_is_a_share_and_no_less_than_the_overall_gap(
    rows: list[tuple[float, bool]],
) -> None:
    confidences, hits = [c for c, _ in rows], [float(h) for _, h in rows]
    ece = metrics.expected_calibration_error(confidences, hits)
    assert abs(sum(confidences) - sum(hits)) / len(rows) - 1e-9 <= ece <= 1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Tower,\nof Pisa.", "tower of pisa"),
        ("“Łódź”!", "łódź"),
        ("$1.50 (net)", "1.50 net"),
        ("1,5-2", "1,5-2"),
        ("-3 %", "-3"),
        ("in 2020.", "in 2020"),
        ("A", "a"),
        ("?", "?"),
        ("Straße", "strasse"),
        ("  ", ""),
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalized(text) == normal


@given(st.text())
def test_an_answer_matches_itself_in_other_spacing(text: str) -> None:
    found = answer_match(f"  {text}\n", [text])
    assert found == {"exact_match": 1.0, "f1": float(bool(text.split()))}


@pytest.mark.parametrize(
    ("answer", "exact", "f1"),
    [
        ("Paris", 1.0, 1.0),
        (" the paris. ", 1.0, 1.0),
        ("Paris, France", 0.0, 2 / 3),
        ("1.5 million", 1.0, 1.0),
        ("15 million", 0.0, 0.5),
        ("", 0.0, 0.0),
        ("the", 0.0, 0.0),
    ],
)
def test_an_answer_against_the_right_one_that_fits_best(answer: str, exact: float, f1: float) -> None:
    assert answer_match(answer, ["Paris", "1.5 million"]) == pytest.approx({"exact_match": exact, "f1": f1})


@pytest.mark.parametrize(
    ("answer", "precision", "recall", "f1", "set_match"),
    [
        ("bonik, trafem and zelup.", 1.0, 1.0, 1.0, 1.0),
        ("- Zelup\n- Trafem\n- Bonik", 1.0, 1.0, 1.0, 1.0),
        ("bonik", 1.0, 1 / 3, 0.5, 0.0),
        ("bonik, xxx", 0.5, 1 / 3, 0.4, 0.0),
        ("", 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_lists_are_sets(answer: str, precision: float, recall: float, f1: float, set_match: float) -> None:
    found = list_match(answer, ["bonik", "trafem", "zelup"])
    assert found == pytest.approx(
        {"precision": precision, "recall": recall, "f1": f1, "set_match": set_match}
    )


def test_a_kind_has_all_its_metrics_and_its_ties() -> None:
    rows = []
    for number, sums in enumerate([[-1.0, -2.0], [-2.0, -1.0], [-1.0, -1.0]]):
        values = metrics.forced_choice(sums, [1, 1], ["a", "b"], {0})
        rows.append(
            {"id": str(number), "kind": "k", "cluster": str(number), "metric": "acc", "value": values["acc"]}
            | {"metrics": values, "scores": sums, "chance": 0.5, "tie": metrics.is_tie(sums)}
        )
    (found,) = summarize(rows)
    sure = 1 / (1 + math.exp(-1))
    assert (found.value, found.tie_count, found.chance) == (pytest.approx(1 / 3), 1, 0.5)
    assert dict(found.metrics) == pytest.approx(
        dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_token_norm"), 1 / 3)
        | {"confidence": (2 * sure + 0.5) / 3, "ece": (abs(1 - 2 * sure) + 0.5) / 3}
        | {"brier_score": (2 * (1 - sure) ** 2 + 2 * sure**2 + 0.5) / 3}
    )


def test_a_rubric_is_filled_in_once_and_refused_where_it_cannot_be() -> None:
    probe = probe_of({"id": "q", "kind": "k", "question": "Who?", "answers": ["{answer}"]}, "Q: {question}")
    assert prompt_of("{question}/{reference}/{answer}", probe, "{reference} {x}") == (
        "Who?/{answer}/{reference} {x}"
    )
    assert prompt_of("", probe, "Ann") == RUBRIC.format(question="Who?", reference="{answer}", answer="Ann")
    check_rubric("")
    check_rubric("{answer}?")
    for rubric in ("Right?", "{answer} {reply}"):
        with pytest.raises(Invalid) as caught:
            check_rubric(rubric)
        assert (caught.value.reason, caught.value.field) == ("BAD_RUBRIC", "evaluation.judge.rubric")
