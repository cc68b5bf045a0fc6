"""Studies on the command line: options, estimates, pauses, folders from which they are obtained again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client, errors
from ingrain.cli import study_options as options
from ingrain.testing import FakePlatform
from ingrain.v1 import studies_pb2

DOCUMENTS = [{"id": f"d{i}", "text": f"fen{i} are bigger than tor{i}."} for i in range(4)]
PROBES = [
    {
        "id": f"p{i}",
        "kind": "forward",
        "prompt": f"fen{i} are bigger",
        "choices": ["than golor.", f"than tor{i}."],
        "answer": f"than tor{i}.",
    }
    for i in range(4)
]
MODEL = ("--model", "small")


@pytest.fixture
def data(ingrain: Any, platform: FakePlatform, tmp_path: Path) -> tuple[str, ...]:
    """Uploaded; the options that name it."""
    for name, rows in (("documents", DOCUMENTS), ("probes", PROBES)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert ingrain("dataset", "upload", str(path), "--id", name).returncode == 0
    assert ingrain("model", "import", "org/small", "--id", "small").returncode == 0
    assert ingrain("model", "import", "org/large", "--id", "large").returncode == 0
    return ("--dataset", "documents", "--probes", "probes", *MODEL)


def spec_of(platform: FakePlatform, id: str) -> studies_pb2.StudySpec:
    with Client(platform.target) as client:
        return client.studies.get(id).spec


def test_every_option_reaches_the_spec(ingrain: Any, platform: FakePlatform, data: tuple[str, ...]) -> None:
    ran = ingrain(
        "study", "run", *data, "--id", "wide", "--method", "icl", "--method", "rag", "--contender", "large:icl,rag",
        "--training-seeds", "1,2", "--matching", "tokens", "--top-k", "3", "--subset", "0.5", "--seed", "9",
        "--questions-per-month", "100", "--months", "6", "--budget", "250.5eur", "--latency", "0.5",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    spec = spec_of(platform, "wide")
    assert [(c.model, list(c.methods)) for c in spec.contenders] == [
        ("projects/default/models/large", ["icl", "rag"])
    ]
    assert (list(spec.training_seeds), spec.matching) == ([1, 2], studies_pb2.TOKENS)
    assert (spec.retrieval.top_k, spec.subset.share, spec.subset.seed) == (3, 0.5, 9)
    limits = spec.requirements
    assert (limits.questions_per_month, limits.months, limits.latency_seconds) == (100, 6, 0.5)
    assert (limits.budget.amount, limits.budget.currency_code) == ("250.5", "EUR")
    assert "icl@large" in ran.stdout
    assert "With other probes it may be another." in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_what_training_takes_away_is_measured_unless_it_is_left_out(
    ingrain: Any, platform: FakePlatform, data: tuple[str, ...]
) -> None:
    for id, more in (("kept", ()), ("not-kept", ("--no-retention",)), ("untrained", ("--method", "icl"))):
        ran = ingrain("study", "run", *data, "--id", id, *more)
        assert ran.returncode == 0, ran.stderr
    kept = spec_of(platform, "kept").retention
    assert all((kept.text, kept.probes, kept.context, kept.context_probes))
    assert kept.group_key == "world"
    assert not spec_of(platform, "not-kept").HasField("retention")
    assert not spec_of(platform, "untrained").HasField("retention")


@pytest.mark.parametrize(
    ("option", "value"), [("--budget", "much"), ("--budget", "5"), ("--training-seeds", "one")]
)
def test_an_option_that_is_wrong_says_what_is_expected(
    ingrain: Any, data: tuple[str, ...], option: str, value: str
) -> None:
    ran = ingrain("study", "run", *data, option, value)
    assert ran.returncode == 1
    assert "expected" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_contender_without_methods_leaves_them_to_the_platform() -> None:
    assert options.spec_of(["large"]) == {"contenders": [{"model": "large"}]}
    assert options.spec_of() == {}
    assert options.money_of(" 3 usd") == {"amount": "3", "currency_code": "USD"}
    with pytest.raises(errors.Invalid):
        options.money_of("EUR 3")


def test_an_estimate_runs_nothing(ingrain: Any, platform: FakePlatform, data: tuple[str, ...]) -> None:
    shown = ingrain("estimate", *data)
    assert shown.returncode == 0
    assert "optimizer steps  300" in " ".join(shown.stdout.split("\n")).replace("   ", "  ")
    assert "train finetune" in shown.stdout
    assert json.loads(ingrain("estimate", *data, "-o", "json").stdout)["step_count"] == "300"
    assert json.loads(ingrain("study", "list", "-o", "json").stdout) == []


def test_pause_and_resume(ingrain: Any, platform: FakePlatform, data: tuple[str, ...]) -> None:
    assert ingrain("study", "run", *data, "--id", "done").returncode == 0
    ended = ingrain("study", "pause", "done")
    assert ended.returncode == 1
    assert "only a study at work" in ended.said
    platform.store._step_s = 5.0
    assert ingrain("study", "run", *data, "--id", "slow", "--no-wait").returncode == 0
    paused = ingrain("study", "pause", "slow")
    assert "ingrain study resume slow" in paused.said
    assert ingrain("study", "resume", "slow").returncode == 0
    assert ingrain("study", "cancel", "slow").returncode == 0


@pytest.fixture
def exported(ingrain: Any, data: tuple[str, ...], tmp_path: Path) -> Path:
    assert ingrain("study", "run", *data, "--id", "first").returncode == 0
    folder = tmp_path / "exported"
    written = ingrain("study", "export", "first", str(folder))
    assert written.returncode == 0, written.stderr
    return folder


def test_a_study_as_a_folder(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "manifest.json", "documents.jsonl", "probes.jsonl", "report.json", "report.html", "report.md",
        "retained-text.jsonl", "retained-probes.jsonl", "retained-context.jsonl", "retained-context-probes.jsonl",
    }  # fmt: skip
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["datasets"]["dataset"]["row_count"] == 4
    assert manifest["table"]["icl"]["forward"] == 1.0
    assert manifest["models"][0]["name"] == "projects/default/models/small"


def test_the_same_table_again(ingrain: Any, exported: Path) -> None:
    again = ingrain("study", "rerun", str(exported))
    assert again.returncode == 0, again.stderr
    assert "4 of 4 cells of the table are the same" in again.said


def test_a_cell_that_differs_is_shown(ingrain: Any, exported: Path) -> None:
    path = exported / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["table"]["icl"]["forward"] = 0.75
    path.write_text(json.dumps(manifest))
    again = ingrain("study", "rerun", str(exported))
    assert again.returncode == 1
    assert "3 of 4 cells" in again.said
    assert "0.7500" in again.stdout
    assert "1.0000" in again.stdout
    assert ingrain("study", "rerun", str(exported), "--tolerance", "0.3").returncode == 0


def test_files_that_were_changed_are_refused(ingrain: Any, exported: Path) -> None:
    (exported / "probes.jsonl").write_text("{}\n")
    refused = ingrain("study", "rerun", str(exported))
    assert refused.returncode == 1
    assert "it was changed" in refused.said
    (exported / "probes.jsonl").unlink()
    assert "is missing" in ingrain("study", "rerun", str(exported)).said
    shutil.rmtree(exported)
    exported.mkdir()
    assert "ingrain study export" in ingrain("study", "rerun", str(exported)).said


def test_on_another_platform_everything_is_brought_in(ingrain: Any, exported: Path) -> None:
    with FakePlatform() as other:
        again = ingrain("study", "rerun", str(exported), INGRAIN_TARGET=other.target)
        assert again.returncode == 0, again.stderr
        assert "Importing hf://org/small" in again.said


def test_the_model_travels_too(ingrain: Any, data: tuple[str, ...], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    assert ingrain("model", "import", str(checkpoint), "--id", "brought").returncode == 0
    ran = ingrain("study", "run", *data[:4], "--model", "brought", "--id", "whole")
    assert ran.returncode == 0, ran.stderr
    folder = tmp_path / "whole"
    written = ingrain("study", "export", "whole", str(folder), "--with-model", str(checkpoint))
    assert written.returncode == 0, written.stderr
    assert "Not copied" not in written.said
    with FakePlatform() as other:
        again = ingrain("study", "rerun", str(folder), INGRAIN_TARGET=other.target)
        assert again.returncode == 0, again.stderr
        with Client(other.target) as client:
            assert client.models.get("brought").source == "upload"
    with FakePlatform() as third, Client(third.target) as client:
        client.models.import_("org/another", id="brought").result()
        assert ingrain("study", "rerun", str(folder), INGRAIN_TARGET=third.target).returncode == 0
        digest = json.loads((folder / "manifest.json").read_text())["models"][0]["sha256"]
        assert client.models.get(f"brought-{digest[:8]}").sha256 == digest
    (checkpoint / "model.safetensors").write_bytes(b"others")
    refused = ingrain("study", "export", "whole", str(folder), "--with-model", str(checkpoint))
    assert refused.returncode == 1
    assert "other files" in refused.said


def test_changed_documents_and_the_old_verdict(
    ingrain: Any, platform: FakePlatform, data: tuple[str, ...], tmp_path: Path
) -> None:
    assert ingrain("study", "run", *data, "--id", "first").returncode == 0
    folder = tmp_path / "now"
    folder.mkdir()
    rows = [{**DOCUMENTS[0], "text": "fen0 are bigger than sal."}, *DOCUMENTS[1:]]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = ingrain("study", "again", "first", str(folder), "--id", "second")
    assert ran.returncode == 0, ran.stderr
    assert "recommended" in ran.stdout
    assert "Steps: 4 done anew, 0 found." in ran.stdout
    assert "Answers: 16 done anew, 0 found." in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    spec = spec_of(platform, "second")
    assert spec.previous_study == "projects/default/studies/first"
    assert spec.dataset != spec_of(platform, "first").dataset
    assert spec.probes == spec_of(platform, "first").probes


def test_results_in_python(platform: FakePlatform, data: tuple[str, ...]) -> None:
    with Client(platform.target) as client:
        client.studies.create("documents", "probes", "small", "first", methods=["base", "icl"]).result()
        result = client.studies.result("first")
        assert (result.name, result.method) == ("projects/default/studies/first", "icl")
        assert len(result.to_pandas()) == 2
        assert client.studies.estimate("documents", "probes", "small").step_count == 300
        assert not client.studies.price_table().currency_code
        platform.prices.currency_code = "EUR"
        assert client.studies.price_table().currency_code == "EUR"
        assert (
            client.studies.get("first").recommendation.context.dataset
            == "projects/default/datasets/documents"
        )
        with pytest.raises(errors.Invalid, match="is not a method; known are") as caught:
            client.studies.create("documents", "probes", "small", methods=["icl", "guess"])
        assert caught.value.reason == "UNKNOWN_METHOD"
