import numpy as np
import pytest

from ingrain.v1 import evaluator_pb2
from servicekit.errors import Invalid
from services.studies.repeats import check_contradictions, recount, repeated
from services.studies.statistics import Answers


def choice(
    id: str, prompt: str, answer: object, world: str = "a", kind: str = "k", choices=("x", "y")
) -> dict:
    return {
        "id": id,
        "kind": kind,
        "prompt": prompt,
        "choices": list(choices),
        "answer": answer,
        "metadata": {"world": world},
    }


def question(id: str, text: str, answers: list[str]) -> dict:
    return {"id": id, "kind": "q", "question": text, "answers": answers, "metadata": {"world": "a"}}


def test_the_same_text_again_is_a_repeat() -> None:
    rows = [
        choice("1", "Torvek are", "x"),
        choice("2", "Torvek  are ", "x", choices=("y", "x")),
        choice("3", "Torvek are", "x", world="b"),
        choice("4", "Torvek are", "x", kind="other"),
        choice("5", "Torvek are", "z", choices=("x", "z")),
        question("6", "Who?", ["a", "b"]),
        question("7", "Who?", ["b", "a"]),
    ]
    assert repeated(rows, "world") == ["2", "7"]
    assert repeated(rows, "") == ["2", "3", "7"]
    check_contradictions(rows, "world")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (choice("1", "Torvek are", "x"), choice("2", "Torvek are", "y", kind="other")),
        (choice("1", "Torvek are", 0), choice("2", "Torvek are", ["y"])),
        (question("1", "Who?", ["a"]), question("2", "Who?", ["b"])),
    ],
)
def test_two_right_answers_to_one_question_are_refused_with_both_rows(first: dict, second: dict) -> None:
    with pytest.raises(Invalid, match=r"rows\[1\] and rows\[2\] of the probes ask the same") as caught:
        check_contradictions([choice("0", "Fenlik are", "y"), first, second], "world")
    assert (caught.value.reason, caught.value.metadata["row"]) == ("PROBES_CONTRADICT", "2")
    check_contradictions([first, {**second, "metadata": {"world": "b"}}], "world")


def test_kinds_are_counted_again_without_repeats() -> None:
    kinds = [
        evaluator_pb2.KindResult(
            kind="k", metric="acc", value=0.9, n=12, chance=0.5, metrics={"acc_norm": 0.7}
        ),
        evaluator_pb2.KindResult(kind="l", metric="f1", value=0.9, n=12),
    ]
    ids = [str(i) for i in range(20)]
    answers = Answers(ids, ["k"] * 10 + ["l"] * 10, ids, np.array([1.0] * 5 + [0.0] * 5 + [0.5, 1.0] * 5))
    choices, lists = recount(kinds, answers)
    assert (choices.value, choices.n, choices.chance, choices.metrics["acc_norm"]) == (0.5, 10, 0.5, 0.7)
    assert (choices.ci95_low, choices.ci95_high) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert (lists.value, lists.n) == (0.75, 10)
    assert 0.5 < lists.ci95_low < 0.65
