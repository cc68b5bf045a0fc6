import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client, errors
from ingrain.testing import FakePlatform
from ingrain.v1 import common_pb2, datasets_pb2
from tools.preflight import Preflight, preflight
from tools.proof import proof, verdict_html, verdict_markdown

GOLDEN = Path(__file__).parents[2] / "golden" / "studies"
CHECKED = Preflight(word_count=100, token_count=140, context_window=2048, first_answer_seconds=2.04)


@pytest.fixture
def found() -> dict[str, Any]:
    report = json.loads((GOLDEN / "wide.json").read_text())
    estimate = common_pb2.Estimate(cost=common_pb2.Cost(compute_seconds=240))
    probes = datasets_pb2.Dataset(
        row_count=30, sha256="b" * 64, labels={"made_by": "GenerateProbes", "trust": "Written"}
    )
    return proof(report, CHECKED, estimate, 600.0, probes)


def test_a_result_file_holds_numbers_and_digests(found: dict[str, Any]) -> None:
    told = json.loads(json.dumps(found))
    assert told["schema"] == "ingrain.proof/1"
    assert told["preflight"]["tokens_per_word"] == pytest.approx(1.4)
    assert told["estimate"]["cost"]["compute_seconds"] == 240
    assert told["probes"]["trust"] == "Written"
    assert "spec" not in told
    assert not any(key in told["documents"] for key in ("name", "rows", "text"))


def test_the_page_says_what_was_asked_and_how_sure_it_is(found: dict[str, Any]) -> None:
    page = verdict_markdown(found)
    assert page.startswith("# icl\n")
    assert page.count("\n| ") == 2 + len(found["methods"])
    assert "140 tokens (1.4 for a word)" in page
    assert "| to make | 1,000 questions | answers within |" in page
    assert " EUR | " in page
    assert "Probes: Written." in page
    assert "It took 10 min" in page
    assert "(4 min were estimated)" in page
    assert "costs no more than icl with its context cached: finetune never, augmented_finetune never." in page
    found["break_even"]["methods"]["finetune"]["money"]["warm"] = 1234
    assert "finetune from 1,234 on, augmented" in verdict_markdown(found)
    found["recommendation"]["unit"] = "FLOP"
    assert "finetune from 444,181 on" in verdict_markdown(found)


def test_the_page_is_self_contained_and_escaped(found: dict[str, Any]) -> None:
    found["recommendation"]["reason"] = "<script>alert(1)</script>"
    page = verdict_html(found)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    found["recommendation"]["method"] = ""
    assert "No method" in verdict_html(found)


def test_words_that_fall_apart_are_told() -> None:
    poor = Preflight(word_count=100, token_count=500, context_window=2048, first_answer_seconds=0.1)
    assert len(poor.lines()) == len(CHECKED.lines()) + 1


def test_a_checkpoint_is_asked_and_reads_the_documents() -> None:
    with FakePlatform() as platform, Client(platform.target) as client:
        model = client.models.import_("org/small", id="small").result()
        checked = preflight(
            client, model, [{"id": "a", "text": "fens are bigger"}, {"id": "b", "text": "tors"}]
        )
        assert (checked.word_count, checked.context_window) == (4, 2048)
        assert checked.token_count > 0
        with pytest.raises(errors.Invalid, match="no document"):
            preflight(client, model, [{"id": "a", "messages": []}])
        with pytest.raises(errors.NotFound):
            preflight(client, type(model)(name="projects/default/models/none"), [{"text": "a"}])
