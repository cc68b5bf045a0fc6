import json
import sys
from pathlib import Path

import pytest

from ingrain import errors
from ingrain.studies import study_spec
from ingrain.study_result import StudyResult
from ingrain.v1 import studies_pb2

GOLDEN = Path(__file__).parents[2] / "golden" / "studies"
PARENT = "projects/p"


@pytest.fixture
def result() -> StudyResult:
    return StudyResult(json.loads((GOLDEN / "wide.json").read_text()))


def test_a_row_for_each_method_and_kind(result: StudyResult) -> None:
    rows = result.rows()
    assert len(rows) == 7 * 4
    icl = next(row for row in rows if (row["method"], row["kind"]) == ("icl", "reversal"))
    assert icl["recommended"]
    assert icl["ci95_low"] <= icl["accuracy"] <= icl["ci95_high"]
    assert icl["thousand_questions_price"] == pytest.approx(0.003903)
    assert icl["latency_p95_seconds"] == pytest.approx(0.38)


def test_as_a_frame(result: StudyResult) -> None:
    frame = result.to_pandas()
    assert len(frame) == 28
    means = frame.groupby("method")["mean_of_kinds"].first()
    assert means["icl"] == pytest.approx(result.report["methods"]["icl"]["accuracy"])


def test_without_pandas_it_says_what_to_install(result: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'ingrain\[pandas\]'"):
        result.to_pandas()


def test_shown_in_a_notebook_and_in_a_terminal(result: StudyResult) -> None:
    result.report["recommendation"]["reason"] = "<script>alert(1)</script>"
    html = result._repr_html_()
    assert "<script" not in html
    assert "<b>icl</b>" in html
    assert html.count("<tr>") == 1 + 7
    assert repr(result).startswith("<StudyResult projects/demo/studies/wide: icl (base 0.3")
    result.report["recommendation"]["method"] = ""
    assert "No method" in result._repr_html_()


def spec(**more: object) -> studies_pb2.StudySpec:
    contenders = more.pop("contenders", ())
    return study_spec(PARENT, "d", "q", "m", ["icl"], None, None, contenders, more)


def test_ids_become_names() -> None:
    made = spec(
        contenders=["large", {"model": "other", "methods": ["rag"]}],
        retention={"text": "t", "context": "c", "context_probes": "cq", "group_key": "world"},
        previous_study="s",
        judge="j",
        matching="tokens",
        requirements={"questions_per_month": 5, "budget": {"amount": "3", "currency_code": "EUR"}},
    )
    assert [c.model for c in made.contenders] == [f"{PARENT}/models/large", f"{PARENT}/models/other"]
    assert list(made.contenders[1].methods) == ["rag"]
    assert (made.retention.text, made.retention.probes) == (f"{PARENT}/datasets/t", "")
    assert made.retention.group_key == "world"
    assert made.previous_study == f"{PARENT}/studies/s"
    assert made.judge.model == f"{PARENT}/models/j"
    assert made.matching == studies_pb2.TOKENS
    assert made.requirements.budget.amount == "3"


def test_a_field_that_is_wrong_is_named() -> None:
    with pytest.raises(errors.Invalid, match="StudySpec has no `budjet`"):
        spec(budjet=3)
    with pytest.raises(errors.Invalid, match="StudySpec"):
        spec(requirements={"nothing": 3})


@pytest.mark.parametrize("contenders", ["large", {"model": "large"}])
def test_one_contender_is_a_list_too(contenders: object) -> None:
    with pytest.raises(errors.Invalid, match=r"`contenders` is a list; write contenders=\["):
        spec(contenders=contenders)


def test_a_contender_without_a_model_says_what_it_is() -> None:
    with pytest.raises(errors.Invalid, match="a contender is a model's name or"):
        spec(contenders=[{"methods": ["icl"]}])
