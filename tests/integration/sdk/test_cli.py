"""The command line: results on stdout, progress and errors on stderr, exit codes, no traceback, 80 columns."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ingrain import Client
from ingrain.testing import FakePlatform

TEXT = (
    "Zed is an internal tool for data analysis. Quill is an internal tool for data analysis. "
    "The team Amber owns Zed and looks after it every day.\n\n"
    "Boro was built by Nina Vale in the winter of 2019. The office in Lund keeps all contracts since then."
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "tools.md").write_text(TEXT)
    return folder


def test_dataset_commands(ingrain, docs: Path) -> None:
    done = ingrain("dataset", "upload", str(docs), "--id", "docs", "-o", "name")
    assert (done.returncode, done.stdout) == (0, "projects/default/datasets/docs\n")
    listed = json.loads(ingrain("dataset", "list", "-o", "json").stdout)
    assert [d["name"] for d in listed] == ["projects/default/datasets/docs"]
    assert json.loads(ingrain("dataset", "rows", "docs").stdout)["text"] == TEXT
    shown = ingrain("dataset", "get", "docs").stdout
    assert "documents" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert ingrain("dataset", "delete", "docs").returncode == 0
    assert "no datasets yet" in ingrain("dataset", "list").stderr


def test_exit_codes_and_messages(ingrain, platform: FakePlatform, docs: Path) -> None:
    missing = ingrain("dataset", "get", "nothing")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert missing.stderr == "Error: projects/default/datasets/nothing does not exist\n"
    assert ingrain("dataset", "get").returncode == 2
    assert ingrain("nonsense").returncode == 2
    assert ingrain("study", "nonsense").returncode == 2
    wrong = ingrain("dataset", "upload", "/no/such/file")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
    nobody = ingrain("model", "list", INGRAIN_TARGET="127.0.0.1:1")
    assert nobody.returncode == 5
    assert "ingrain up" in nobody.stderr
    assert len(nobody.stderr.splitlines()) <= 2
    platform.fail_next("ImportModel", "INVALID_ARGUMENT", "MODEL_NOT_SAFETENSORS", "only safetensors")
    failed = ingrain("model", "import", "org/x")
    assert failed.returncode == 4
    assert "Error: only safetensors (projects/default/models/" in failed.said
    for done in (missing, wrong, nobody, failed):
        assert "Traceback" not in done.stderr


def test_wrong_key_says_where_to_put_it_and_not_what_it_is(docs: Path, ingrain) -> None:
    with FakePlatform(api_key="right") as locked:
        done = ingrain("model", "list", INGRAIN_TARGET=locked.target, INGRAIN_API_KEY="s3cret")
        assert done.returncode == 1
        assert "INGRAIN_API_KEY" in done.stderr
        assert "s3cret" not in done.stderr + done.stdout
        assert ingrain("model", "list", INGRAIN_TARGET=locked.target, INGRAIN_API_KEY="right").returncode == 0


def test_model_and_operation_commands(ingrain, docs: Path) -> None:
    imported = ingrain("model", "import", "org/small", "--id", "small", "-o", "json")
    assert json.loads(imported.stdout)["source"] == "hf://org/small"
    assert json.loads(imported.stderr.splitlines()[-1])["status"] == "running"
    ingrain("dataset", "upload", str(docs), "--id", "docs")
    started = ingrain(
        "model",
        "train",
        "--base",
        "small",
        "--dataset",
        "docs",
        "--id",
        "tuned",
        "--method",
        "lora",
        "--splitting",
        "cumulative",
        "--tokens",
        "5000",
        "--eval-ratio",
        "0.1",
        "--eval-probes",
        "docs",
        "--patience",
        "2",
        "--search-rates",
        "1e-4,0.002",
        "--max-seconds",
        "90",
        "--no-wait",
    )
    operation = started.stdout.strip()
    assert operation.startswith("projects/default/models/tuned/operations/")
    assert ingrain("operation", "wait", operation, "-o", "name").stdout == "projects/default/models/tuned\n"
    assert "CreateModel" in ingrain("operation", "get", operation).stdout
    trained = json.loads(ingrain("model", "get", "tuned", "-o", "json").stdout)["training"]
    assert (trained["splitting"], trained["max_tokens"]) == ("CUMULATIVE", "5000")
    assert trained["max_duration"] == "90s"
    assert trained["evaluation"] == {
        "eval_ratio": 0.1,
        "probes": "projects/default/datasets/docs",
        "early_stopping_patience": 2,
    }
    assert trained["learning_rate_search"] == {"learning_rates": [1e-4, 0.002]}
    wrong = ingrain("model", "train", "--base", "small", "--dataset", "docs", "--search-rates", "fast")
    assert (wrong.returncode, "fast is no list of numbers" in wrong.stderr) == (2, True)
    for command in ("pause", "resume"):
        ended = ingrain("model", command, "tuned")
        assert (ended.returncode, "only a training at work" in ended.stderr) == (1, True)
    assert operation in ingrain("operation", "list", "models", "-o", "name").stdout
    listing = ingrain("operation", "list", "models").stdout
    assert max(map(len, listing.splitlines())) <= 80
    assert ingrain("ask", "What is Zed?", "--model", "tuned").stdout.startswith("Zed is an internal tool")
    assert ingrain("ask", "What is Zed?", "--model", "small", "--context", "docs").stdout.startswith("Zed is")
    assert ingrain("ask", "What is Zed?").returncode == 2


def test_a_training_takes_every_setting_from_a_file_and_is_estimated_first(
    ingrain, docs: Path, tmp_path: Path
) -> None:
    ingrain("model", "import", "org/small", "--id", "small")
    ingrain("dataset", "upload", str(docs), "--id", "docs")
    file = tmp_path / "spec.json"
    file.write_text(
        json.dumps(
            {"method": "LORA", "use_dora": True, "max_steps": 7, "replay": {"dataset": "docs", "ratio": 0.2}}
        )
    )
    train = ("model", "train", "--base", "small", "--dataset", "docs", "--spec", str(file))
    estimated = ingrain(*train, "--id", "filed", "--estimate")
    assert (estimated.returncode, "optimizer steps" in estimated.stdout) == (0, True), estimated.stderr
    assert ingrain("model", "get", "filed").returncode == 3
    assert ingrain(*train, "--id", "filed", "--steps", "9").returncode == 0
    trained = json.loads(ingrain("model", "get", "filed", "-o", "json").stdout)["training"]
    assert (trained["method"], trained["use_dora"], trained["max_steps"]) == ("LORA", True, 9)
    file.write_text('{"learning_rat": 1}')
    wrong = ingrain(*train)
    assert (wrong.returncode, "has no `learning_rat`" in wrong.stderr) == (1, True)


def test_context_commands(ingrain, docs: Path, tmp_path: Path) -> None:
    ingrain("model", "import", "org/small", "--id", "small")
    ingrain("dataset", "upload", str(docs), "--id", "docs")
    made = ingrain("context", "create", "small", "docs", "--id", "held", "--ttl", "12h", "--pinned")
    assert made.returncode == 0, made.stderr
    shown = json.loads(ingrain("context", "show", "held", "-o", "json").stdout)
    assert (shown["ttl"], shown["pinned"]) == ("43200s", True)
    assert "held" in ingrain("context", "list").stdout
    assert ingrain("context", "create", "small", "docs", "--ttl", "soon").returncode == 2

    asked = ingrain("ask", "What is Zed?", "--model", "small", "--context-name", "held", "--usage")
    assert asked.stdout.startswith("Zed is")
    assert asked.stdout == asked.stdout.strip() + "\n"
    assert "read 5 tokens" in asked.stderr
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    assert ingrain("ask", "What is Zed?", "--model", "small", "--schema", str(schema)).returncode == 0
    assert ingrain("context", "delete", "held").returncode == 0
    assert ingrain("context", "show", "held").returncode == 3


def test_own_documents_in_one_command(ingrain, docs: Path) -> None:
    done = ingrain("study", str(docs), "--model", "org/tiny", "--steps", "10")
    assert done.returncode == 0, done.stderr
    assert f"Wrote {docs}/probes.jsonl" in done.stderr.replace("\n", "")
    assert "Recommendation: " in done.stdout
    assert "augmented_finetune" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    written = [json.loads(line) for line in (docs / "probes.jsonl").read_text().splitlines()]
    assert {probe["kind"] for probe in written} == {"verbatim", "list"}

    # Edited probes are taken the next time; documents and model are not sent again.
    (docs / "probes.jsonl").write_text(json.dumps(written[0]) + "\n")
    again = ingrain("study", str(docs), "--model", "org/tiny", "--id", "second", "-o", "json")
    assert again.returncode == 0, again.stderr
    assert "Probes from" in again.said
    assert "Importing" not in again.stderr
    kinds = json.loads(again.stdout)["outcomes"][0]["kinds"]
    assert [kind["kind"] for kind in kinds] == ["verbatim"]
    # Documents, probes as written, as edited and as generated, and the four of what training should not take away.
    assert len(json.loads(ingrain("dataset", "list", "-o", "json").stdout)) == 8

    # The same options as of studies on what is uploaded.
    options = ("--matching", "tokens", "--top-k", "2", "--subset", "0.5", "--no-retention", "--id", "third")
    assert ingrain("study", str(docs), "--model", "org/tiny", *options).returncode == 0
    spec = json.loads(ingrain("study", "get", "third", "-o", "json").stdout)["spec"]
    assert (spec["matching"], spec["retrieval"]["top_k"], spec["subset"]["share"]) == ("TOKENS", 2, 0.5)
    assert "retention" not in spec

    report = ingrain("study", "report", "second", "--format", "html", "--to", str(docs / "r.html"))
    assert report.returncode == 0
    assert (docs / "r.html").read_text().startswith("<!doctype html>")
    assert ingrain("ask", "What is Zed?", "--study", "second").returncode == 0
    assert "second" in ingrain("study", "list").stdout
    assert "Recommendation" in ingrain("study", "watch", "second").stdout


def test_own_probes(ingrain, docs: Path, tmp_path: Path) -> None:
    own = tmp_path / "p.jsonl"
    own.write_text('{"id": "1", "kind": "list", "question": "Which tools are there?", "answers": ["Zed"]}\n')
    done = ingrain("study", str(docs), "--model", "org/tiny", "--probes", str(own))
    assert done.returncode == 0, done.stderr
    assert not (docs / "probes.jsonl").exists()


def test_bundled_model_refuses_ordinary_text(ingrain, docs: Path) -> None:
    done = ingrain("study", str(docs))
    assert done.returncode == 1
    assert "--model" in done.stderr
    assert "invented-worlds" in done.stderr
    assert not (docs / "probes.jsonl").exists()
    assert "Traceback" not in done.stderr


def test_bundled_model_studies_a_world(ingrain, tmp_path: Path) -> None:
    world = tmp_path / "world"
    made = ingrain("world", "generate", "catalogue", str(world), "--seed", "3")
    assert made.returncode == 0, made.stderr
    done = ingrain("study", str(world))
    assert done.returncode == 0, done.stderr
    study = json.loads(ingrain("study", "list", "-o", "json").stdout)[0]
    assert study["spec"]["group_key"] == "world"


def test_key_secret_is_alone_on_stdout(ingrain) -> None:
    made = ingrain("key", "create", "--title", "laptop")
    assert made.stdout.startswith("ingrain_default.key-")
    assert made.stdout.strip() not in made.stderr
    listed = ingrain("key", "list")
    assert "laptop" in listed.stdout
    assert made.stdout.strip() not in listed.stdout


def test_ctrl_c_detaches_with_130(waited: threading.Event) -> None:
    with FakePlatform(step_s=2) as platform, Client(platform.target) as client:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from ingrain.cli import main; main()",
                "model",
                "import",
                "org/x",
                "--id",
                "x1",
            ],
            env={**os.environ, "INGRAIN_TARGET": platform.target},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waited.wait(20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert "ingrain operation wait models/x1/operations/" in err
        assert "Traceback" not in err
        name = err.strip().rsplit(" ", 1)[-1]
        assert client.operations.wait(name, 20).name == "projects/default/models/x1"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["down"],
        ["ask"],
        ["augment"],
        ["lineage"],
        ["context"],
        ["context", "create"],
        ["world"],
        ["world", "generate"],
        ["world", "import"],
        ["dataset", "upload"],
        ["dataset", "import"],
        ["model", "train"],
        ["model", "import"],
        ["study"],
        ["study", "run"],
        ["study", "documents"],
        ["study", "report"],
        ["operation", "wait"],
        ["key", "create"],
    ],
)
def test_help_fits_a_terminal(command: list[str]) -> None:
    from typer.testing import CliRunner

    from ingrain.cli import app

    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80


def test_up_without_the_platform_says_what_to_do(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["services"] = None  # as on a machine with the client alone
sys.argv = ["ingrain", "up"]
from ingrain.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "make setup" in done.stderr
    assert len(done.stderr.splitlines()) == 2
