"""`ingrain evaluation`: asked, listed, shown, and written as lm-evaluation-harness's files."""

import json
from pathlib import Path

import pytest

from ingrain import Client, errors
from ingrain.testing import FakePlatform
from ingrain.v1 import common_pb2, evaluator_pb2


@pytest.fixture(autouse=True)
def asked(client: Client, documents, probes) -> None:
    client.datasets.upload(documents, id="docs")
    client.datasets.upload(probes, id="probes")
    client.models.import_("bundled:small", id="small").result()


def test_an_evaluation_from_question_to_file(ingrain, probes, tmp_path: Path) -> None:
    made = ingrain(
        "evaluation", "create", "small", "probes", "--id", "e-1", "--documents", "docs", "-o", "name"
    )
    assert (made.returncode, made.stdout) == (0, "projects/default/evaluations/e-1\n")
    shown = ingrain("evaluation", "get", "e-1").stdout
    assert "verbatim 1.00, list 1.00" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert [e["name"] for e in json.loads(ingrain("evaluation", "list", "-o", "json").stdout)] == [
        "projects/default/evaluations/e-1"
    ]
    done = ingrain("evaluation", "export", "e-1", str(tmp_path / "out"))
    assert done.returncode == 0
    results = json.loads(Path(done.stdout.strip()).read_text())
    assert {name: row["sample_len"] for name, row in results["results"].items()} == {
        "ingrain_probes_verbatim": 1,
        "ingrain_probes_list": 1,
    }
    assert results["results"]["ingrain_probes_list"]["f1,none"] == 1.0
    (row,) = (tmp_path / "out" / "ingrain_probes_verbatim.jsonl").read_text().splitlines()
    assert json.loads(row)["prompt"].endswith(f"data analysis.\n\n{probes[0]['prompt']}")


def test_what_cannot_be_exported_is_said(ingrain, client: Client, platform: FakePlatform, tmp_path) -> None:
    missing = ingrain("evaluation", "export", "nothing", str(tmp_path / "out"))
    assert (missing.returncode, missing.stdout) == (3, "")
    client.evaluations.create("small", "probes", "e-1").result()
    client.datasets.delete("probes")
    with pytest.raises(errors.NotFound):
        client.evaluations.export_lm_eval("e-1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_how_it_is_asked_and_how_texts_are_shown(ingrain, client: Client, documents, tmp_path: Path) -> None:
    how = ("--documents", "docs", "--asking", "generation", "--part", "0.5", "--passages", "--top-k", "3")
    assert ingrain("evaluation", "create", "small", "probes", "--id", "e-1", *how).returncode == 0
    made = client.evaluations.get("e-1")
    assert (made.asking, made.subject.context.subset.share) == (evaluator_pb2.Evaluation.GENERATION, 0.5)
    assert made.subject.context.retrieval.unit == common_pb2.Retrieval.PASSAGE
    assert made.subject.context.retrieval.top_k == 3
    with pytest.raises(errors.Invalid) as caught:
        client.evaluations.export_lm_eval("e-1", tmp_path)
    assert caught.value.reason == "CONTEXT_NOT_WHOLE"
    shown = ingrain("evaluation", "create", "small", "docs", "--id", "e-2").stdout
    assert "text 1.8" in shown
    assert "bits per byte" in shown
    assert not client.evaluations.get("e-2").subject.HasField("context")
