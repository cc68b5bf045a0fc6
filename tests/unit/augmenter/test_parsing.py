"""Outputs become statements, whatever a model wrote."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import augmenter_pb2
from services.augmenter.parsing import SCHEMA, parsed, structured
from services.augmenter.planning import MOST_RETRIES, SAMPLES, Planned, again
from services.augmenter.spec import Spec, resolve
from services.augmenter.strategies import Ask
from services.augmenter.strategies.question_answer import parse

ASK = Ask("", (), None)


def spec_of(temperature: float = 0.7) -> Spec:
    return resolve(augmenter_pb2.AugmentationSpec(temperature=temperature))


@pytest.mark.parametrize(
    ("output", "statements"),
    [
        ('{"statements": ["A is B.", "B is A."]}', ["A is B.", "B is A."]),
        ('```json\n{"statements": ["A is B."]}\n```', ["A is B."]),
        ('Here you are: {"statements": ["A is B."]} That is all.', ["A is B."]),
        ('{"statements": ["A is B.", "C is', ["A is B.", "C is"]),  # cut off by max_tokens
        ("{'statements': ['A is B.',]}", ["A is B."]),
        ('{"statements": ["Two\\n lines."]}', ["Two lines."]),
        ('{"statements": ["A is \\"B\\".", "C\\u00e9 is', ['A is "B".', "C\\u00e9 is"]),
        ('{"statements": ["A is B."', ["A is B."]),
        ('{"statements": ["A is B.",', ["A is B."]),
        ('Well. {"statements": ["A is B."]} {"statements": ["C is D."]}', ["A is B."]),
        ('{"statements": ["A is "B"."]}', ['A is "B".']),  # quotes that should have been escaped
        ("{statements: ['A is B.']}", ["A is B."]),
        ('{"statements": [', [""]),
        ('{"statements": []}', [""]),
        ('{"statements": "A is B."}', []),
        ('{"statements": [{"text": "A is B."}]}', []),
        ('["A is B."]', []),
        ("A is B.", []),
        ("", []),
        ("{" * 100_000, []),
        ('{"statements": [' + "{" * 100_000, []),
        ('{"statements": [' + "'a\" " * 100_000, []),
    ],
)
def test_structured_output_is_read_repaired_or_refused(output: str, statements: list[str]) -> None:
    assert structured(output) == statements


@given(st.lists(st.text()))
def test_what_keeps_to_the_schema_is_read_whole(statements: list[str]) -> None:
    text = json.dumps({"statements": statements})
    assert structured(text) == [" ".join(statement.split()) for statement in statements] or [""]
    assert json.loads(SCHEMA)["required"] == ["statements"]


@given(st.text() | st.text(alphabet='{}[]"\\,: statements\n'))
def test_whatever_is_written_is_read_or_refused(output: str) -> None:
    assert all(isinstance(statement, str) for statement in structured(output))
    for strategy in ("question_answer", "rephrase", "own"):
        found = parsed(Planned(0, strategy, ASK, 0), output)
        assert found
        assert not any("\n" in statement for statement in found)


@given(st.text(max_size=60), st.integers(1, 59))
def test_what_was_cut_off_anywhere_is_read_or_refused(inner: str, at: int) -> None:
    whole = json.dumps({"statements": [inner, "B."]})
    assert all(isinstance(statement, str) for statement in structured(whole[: at % len(whole)]))


def test_the_ask_decides_how_it_is_read() -> None:
    output = '{"statements": ["A is B."]}'
    assert parsed(Planned(0, "rephrase", ASK, 0), output) == [output]
    assert parsed(Planned(0, "rephrase", Ask("", (), None, structured=True), 0), output) == ["A is B."]
    assert parsed(Planned(0, "masked", ASK, 0, "As it is.\n\nWhole."), "") == ["As it is.\n\nWhole."]


@pytest.mark.parametrize(
    ("output", "rows"),
    [
        ("Question: What is A? Answer: A is B.", ["What is A? A is B."]),
        (
            "1. Q: What is A?\n   A: A is B.\n2. Q: What is B? A: B is A.",
            ["What is A? A is B.", "What is B? B is A."],
        ),
        ("What is A? Answer: A is B.", ["What is A? A is B."]),
        ("Question 1: What is A?\n\nAnswer 1: A is B.", ["What is A? A is B."]),
        ("Question: What is A?", ["What is A?"]),
        ("What is A?\nWhat is B? Answer: B.", ["What is A?", "What is B? B."]),
        ("A is B.", ["A is B."]),
        ("", [""]),
        ("\n \n", [""]),
    ],
)
def test_a_question_and_its_answer_are_one_row(output: str, rows: list[str]) -> None:
    assert parse(output) == rows


def test_an_output_that_cannot_be_read_is_asked_for_again_at_most_twice() -> None:
    item: Planned | None = Planned(0, "own", Ask("", (), None, structured=True), 3)
    samples = []
    while item is not None:
        samples.append(item.sample)
        item = again(spec_of(), item)
    assert samples == [3, 3 + SAMPLES, 3 + 2 * SAMPLES]
    assert len(samples) == 1 + MOST_RETRIES
    assert again(spec_of(), Planned(0, "rephrase", ASK, 0)) is None
    greedy = Planned(0, "own", Ask("", (), None, structured=True), 0)
    assert again(spec_of(temperature=0.0), greedy) is None  # would be the same
