"""Every wrong row is named by row and field, whatever comes in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1.datasets_pb2 import Dataset
from servicekit.errors import Invalid
from services.augmenter.rows import RowChecker

GOOD = [
    ({"id": "a", "text": "x", "metadata": {"k": 1}, "more": [1]}, Dataset.DOCUMENTS),
    ({"messages": [{"role": "user", "content": "x"}]}, Dataset.MESSAGES),
    ({"prompt": "x", "completion": "y"}, Dataset.PROMPT_COMPLETION),
    ({"id": "p", "kind": "k", "prompt": "x", "choices": ["a", "b"], "answer": ["a", "b"]}, Dataset.PROBES),
    ({"id": "p", "kind": "list", "question": "x?", "answers": ["a"]}, Dataset.PROBES),
    ({"id": "p", "prompt": "x", "parameters": {"temperature": 0.5, "stop": []}}, Dataset.PROMPTS),
    (
        {"id": "p", "messages": [{"role": "user", "content": "x"}], "parameters": {"seed": -3}},
        Dataset.PROMPTS,
    ),
    ({"id": "p", "completion": "", "finish_reason": "stop", "token_count": 0}, Dataset.ANSWERS),
    (
        {"id": "p", "scores": [{"sum_logprob": -1.5, "mean_logprob": -0.5, "token_count": 3}]},
        Dataset.ANSWERS,
    ),
    ({"id": "p", "error": {"code": "PROMPT_TOO_LONG", "message": "x"}}, Dataset.ANSWERS),
]


@pytest.mark.parametrize(("row", "kind"), GOOD)
def test_kinds_are_decided_by_the_first_row_and_nothing_is_lost(row: dict[str, Any], kind: int) -> None:
    checker = RowChecker()
    assert checker.check_line(json.dumps(row).encode()) == row
    assert checker.kind == kind


PROBE = {"id": "p", "kind": "k", "prompt": "x", "choices": ["a", "b"], "answer": "a"}
BAD = [
    (b"[1]", "NOT_AN_OBJECT", "rows[0]"),
    (b"{", "NOT_JSON", "rows[0]"),
    (b'{"text": NaN}', "NOT_JSON", "rows[0]"),
    (b'{"text": "\xff"}', "NOT_UTF8", "rows[0]"),
    (b"[" * 100_000, "NOT_JSON", "rows[0]"),
    (b'{"n": 1}', "UNKNOWN_SHAPE", "rows[0]"),
    (b'{"text": 3}', "WRONG_TYPE", "rows[0].text"),
    (b'{"text": "  "}', "EMPTY_FIELD", "rows[0].text"),
    (b'{"text": "x", "metadata": 3}', "WRONG_TYPE", "rows[0].metadata"),
    (b'{"prompt": "x", "completion": ""}', "EMPTY_FIELD", "rows[0].completion"),
    (b'{"messages": [{"role": "user"}]}', "MISSING_FIELD", "rows[0].messages[0].content"),
    (json.dumps(PROBE | {"answer": "c"}).encode(), "ANSWER_NOT_A_CHOICE", "rows[0].answer"),
    (json.dumps(PROBE | {"answer": []}).encode(), "ANSWER_NOT_A_CHOICE", "rows[0].answer"),
    (json.dumps(PROBE | {"choices": ["a", "a"]}).encode(), "CHOICES_REPEAT", "rows[0].choices"),
    (json.dumps(PROBE | {"choices": ["a"]}).encode(), "WRONG_TYPE", "rows[0].choices"),
    (json.dumps(PROBE | {"choices": ["a", 3]}).encode(), "WRONG_TYPE", "rows[0].choices[1]"),
    (b'{"kind": "k", "question": "x", "answers": []}', "WRONG_TYPE", "rows[0].answers"),
    (b'{"prompt": " "}', "EMPTY_FIELD", "rows[0].prompt"),
    (b'{"prompt": "x", "parameters": 3}', "WRONG_TYPE", "rows[0].parameters"),
    (b'{"prompt": "x", "parameters": {"max_tokens": 0}}', "BAD_PARAMETER", "rows[0].parameters.max_tokens"),
    (b'{"prompt": "x", "parameters": {"seed": true}}', "BAD_PARAMETER", "rows[0].parameters.seed"),
    (b'{"prompt": "x", "parameters": {"stop": "a"}}', "BAD_PARAMETER", "rows[0].parameters.stop"),
    (b'{"prompt": "x", "parameters": {"heat": 1}}', "BAD_PARAMETER", "rows[0].parameters.heat"),
    (
        b'{"messages": [{"role": "tool", "content": "x"}], "parameters": {}}',
        "UNKNOWN_ROLE",
        "rows[0].messages[0].role",
    ),
    (
        b'{"prompt": "x", "messages": [{"role": "user", "content": "x"}], "parameters": {}}',
        "TWO_PROMPTS",
        "rows[0].messages",
    ),
    (b'{"id": "p", "scores": [{"sum_logprob": -1}]}', "WRONG_TYPE", "rows[0].scores[0].mean_logprob"),
    (b'{"id": "p", "error": {"code": "X"}}', "MISSING_FIELD", "rows[0].error.message"),
]


@pytest.mark.parametrize(("line", "reason", "field"), BAD)
def test_wrong_rows_are_named(line: bytes, reason: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        RowChecker().check_line(line)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert caught.value.message.startswith("row 1 ")


def test_ids_are_given_and_repeated_ones_refused() -> None:
    checker = RowChecker()
    assert checker.check({"text": "x"})["id"] == "row-000001"
    checker.check({"text": "x", "id": "a"})
    with pytest.raises(Invalid, match=r"row 3 .*'a'"):
        checker.check({"text": "x", "id": "a"})


def test_a_later_row_of_another_shape_is_refused() -> None:
    checker = RowChecker()
    checker.check({"text": "x"})
    with pytest.raises(Invalid) as caught:
        checker.check({"prompt": "x", "completion": "y"})
    assert caught.value.field == "rows[1].text"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "text", "kind", "prompt", "choices", "answer", "question", "answers", "messages"]
            )
            | st.text(),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_is_a_row_or_an_invalid(line: bytes) -> None:
    refused = None
    row = None
    try:
        row = RowChecker().check_line(line)
    except Invalid as error:
        refused = error
    assert refused is None or refused.field.startswith("rows[0]")
    assert row is None or isinstance(row, dict)
