"""The command line as a pod's process: killed and run again, ended by SIGTERM, a gate, a verdict, codes that tell why."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client
from ingrain.testing import FakePlatform

JOB = "6f1f4a52-3c0e-4d0b-9d3a-6a1a2b3c4d5e"
EVALUATE = ("evaluate", "small", "probes", "--documents", "docs")
STUDY = ("study", "run", "--dataset", "docs", "--probes", "probes", "--model", "small", "--no-retention")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def filled(client: Client, documents: Any, probes: Any) -> None:
    client.datasets.upload(documents, id="docs", display_name="handbook")
    client.datasets.upload(probes, id="probes", kind="probes")
    client.models.import_("bundled:small", id="small").result()


@pytest.fixture
def verdict_file(tmp_path: Path) -> Path:
    """Kubernetes makes it before the container starts."""
    path = tmp_path / "termination-log"
    path.touch()
    return path


@pytest.fixture
def start(platform: FakePlatform, verdict_file: Path) -> Iterator[Start]:
    """`ingrain ...` as a process of its own, with pipes for a terminal."""
    started = []

    def run(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        own = {name: value for name, value in os.environ.items() if not name.startswith("INGRAIN_")}
        fixed = {"INGRAIN_TARGET": platform.target, "INGRAIN_TERMINATION_LOG": str(verdict_file)}
        process = subprocess.Popen(
            [sys.executable, "-c", "from ingrain.cli import main; main()", *arguments],
            env=own | fixed | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start: Start) -> Callable[..., tuple[int, list[dict[str, Any]], str]]:
    """To its end: the code, stdout's lines as JSON, stderr."""

    def ended(*arguments: str, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
        process = start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, [json.loads(line) for line in out.splitlines()], err

    return ended


def until_at_work(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "progress"


def names(client: Client, under: str) -> list[str]:
    return [operation.name for operation in client.operations.list(under)]


@pytest.mark.parametrize("command", [EVALUATE, STUDY], ids=["evaluate", "study"])
def test_a_pod_that_is_tried_again_finds_the_work(
    platform: FakePlatform, client: Client, start: Start, run: Any, command: tuple[str, ...]
) -> None:
    platform.store._step_s = 0.3
    first = start(*command, INGRAIN_REQUEST_ID=JOB)
    until_at_work(first)
    first.kill()
    first.wait()
    code, lines, _ = run(*command, INGRAIN_REQUEST_ID=JOB)
    assert (code, lines[-1]["event"]) == (0, "result")
    under = "studies" if command is STUDY else "evaluations"
    assert len(names(client, under)) == 1
    code, lines, err = run(*command, INGRAIN_REQUEST_ID=JOB)  # a pod that was lost just after
    assert (code, lines[-1]["event"], "has ended before" in err) == (0, "result", True)
    assert len(names(client, under)) == 1
    assert run(*command, "--wait", INGRAIN_REQUEST_ID="another job")[0] == 0
    assert len(names(client, under)) == 2


def test_what_is_brought_in_is_brought_in_once(client: Client, start: Start, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "text": "A valve."}\n')
    for command, there in (
        (("model", "import", "bundled://small"), client.models.list),
        (("dataset", "upload", str(rows)), client.datasets.list),
    ):
        before = len(list(there()))
        for _ in range(2):
            process = start(*command, INGRAIN_REQUEST_ID=f"{JOB} {command[0]}")
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
        assert len(list(there())) == before + 1


def test_sigterm_detaches_and_says_how_to_come_back(
    platform: FakePlatform, client: Client, start: Start, run: Any, verdict_file: Path
) -> None:
    platform.store._step_s = 0.3
    process = start(*EVALUATE)
    until_at_work(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    (name,) = names(client, "evaluations")
    assert f"ingrain operation wait {name.split('/', 2)[-1]}" in err
    assert "Traceback" not in err
    told = json.loads(verdict_file.read_text())
    assert (told["status"], told["exit_code"], told["operation"]) == ("detached", 143, name)
    again = err.strip().splitlines()[-1].rpartition("ingrain ")[2].split()
    assert run(*again)[0] == 0
    assert client.operations.get(name).done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancel_on_exit_cancels(
    platform: FakePlatform, client: Client, start: Start, run: Any, verdict_file: Path, number: signal.Signals
) -> None:
    platform.store._step_s = 0.3
    process = start(*STUDY, "--cancel-on-exit")
    until_at_work(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert "Cancelled" in err
    (name,) = names(client, "studies")
    assert run("operation", "wait", name)[0] == 4
    assert "cancelled on request" in json.loads(verdict_file.read_text())["message"]


def test_sigterm_before_there_is_work(start: Start, verdict_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        process = start(*EVALUATE, INGRAIN_TARGET=f"127.0.0.1:{silent.getsockname()[1]}")
        silent.accept()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (143, False)
    assert "run the same command again" in json.loads(verdict_file.read_text())["message"]


def test_a_gate_has_a_code_of_its_own(client: Client, run: Any, verdict_file: Path) -> None:
    code, lines, _ = run(*EVALUATE, "--fail-below", "verbatim=0.8", "--fail-below", "list=1")
    assert (code, lines[-1]["event"], lines[-1]["passed"]) == (0, "gate", True)
    assert json.loads(verdict_file.read_text())["verdict"] == "passed"
    code, lines, err = run("evaluate", "small", "probes", "--fail-below", "list=0.5")
    assert (code, lines[-1]["passed"]) == (6, False)
    assert "list 0.000 is below 0.5" in err
    told = json.loads(verdict_file.read_text())
    assert (told["status"], told["exit_code"], told["values"]["list"]) == ("below", 6, 0.0)


@pytest.mark.parametrize("gate", ["reversal", "reversal=much", "=0.8", "reversal=80", "reversal=nan"])
def test_a_gate_that_cannot_be_read_asks_nothing(client: Client, run: Any, gate: str) -> None:
    assert run(*EVALUATE, "--fail-below", gate)[0] == 2
    assert names(client, "evaluations") == []


def test_a_gate_of_a_kind_that_is_not_asked_leaves_its_verdict(run: Any, verdict_file: Path) -> None:
    code, _, err = run(*EVALUATE, "--fail-below", "reversal=0.8")
    assert (code, "verbatim" in err) == (1, True)
    told = json.loads(verdict_file.read_text())
    assert (told["status"], told["exit_code"], told["reason"]) == ("failed", 1, "NO_SUCH_KIND")


def test_without_a_terminal_there_are_lines_of_json(run: Any, verdict_file: Path) -> None:
    code, lines, _ = run(*STUDY)
    assert code == 0
    assert {line["event"] for line in lines} == {"progress", "result"}
    recommended = lines[-1]["result"]["recommendation"]["method"]
    assert json.loads(verdict_file.read_text())["recommended"] == recommended
    code, lines, _ = run("batch", "create", "small", "probes")
    assert (code, lines[-1]["result"]["answered_count"]) == (0, "2")
    code, lines, _ = run("model", "train", "--base", "small", "--dataset", "docs", "--id", "tuned")
    assert (code, lines[-1]["result"]["name"]) == (0, "projects/default/models/tuned")


def test_codes_tell_whose_fault_it_was(
    platform: FakePlatform, client: Client, run: Any, verdict_file: Path
) -> None:
    assert run("evaluate", "nothing", "probes")[0] == 3
    assert run(*EVALUATE, INGRAIN_TARGET="127.0.0.1:1")[0] == 5
    platform.fail_next("CreateEvaluation", "INVALID_ARGUMENT", "BAD", "the model cannot be asked")
    assert run(*EVALUATE, INGRAIN_REQUEST_ID="theirs")[0] == 4
    assert json.loads(verdict_file.read_text())["reason"] == "BAD"
    assert run(*EVALUATE, INGRAIN_REQUEST_ID="theirs")[0] == 4
    assert len(names(client, "evaluations")) == 1  # it would end the same: nothing is begun anew
    platform.fail_next("CreateEvaluation", "INTERNAL", "FAULT", "out of order")
    assert run(*EVALUATE, INGRAIN_REQUEST_ID=JOB)[0] == 75
    code, _, err = run(*EVALUATE, INGRAIN_REQUEST_ID=JOB)
    assert (code, "begun anew" in err) == (0, True)
    assert len(names(client, "evaluations")) == 3


def test_a_verdict_goes_nowhere_where_there_is_no_place_for_it(run: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert run(*EVALUATE, INGRAIN_TERMINATION_LOG=str(missing))[0] == 0
    assert not missing.exists()


def test_a_token_that_is_written_anew_is_read_anew(start: Start, tmp_path: Path, documents: Any) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with FakePlatform(api_key="first", step_s=0.3) as locked:
        with Client(locked.target, api_key="first") as owner:
            owner.datasets.upload(documents, id="docs")
            owner.models.import_("bundled:small", id="small").result()
        train = ("model", "train", "--base", "small", "--dataset", "docs", "--id", "tuned")
        process = start(*train, INGRAIN_TARGET=locked.target, INGRAIN_KEY_FILE=str(token))
        until_at_work(process)
        (tmp_path / "new").write_text("second\n")
        locked.stop()  # first, or the new key is shown where only the old one is known
        (tmp_path / "new").rename(token)
        locked._api_key = "second"
        locked.start()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["result"]["name"].endswith("/tuned")


def test_a_schedule_runs_a_study_again_when_its_documents_changed(
    client: Client, run: Any, documents: Any, verdict_file: Path
) -> None:
    assert run(*STUDY, "--id", "base")[0] == 0
    again = ("study", "again", "base", "--if-changed")
    code, lines, _ = run(*again)
    assert (code, lines) == (
        0,
        [
            {
                "event": "unchanged",
                "study": "projects/default/studies/base",
                "dataset": "projects/default/datasets/docs",
            }
        ],
    )
    client.datasets.upload(documents, id="same-rows", display_name="handbook")
    client.datasets.upload(documents[:1], id="another-title", display_name="letters")
    assert run(*again)[1][-1]["event"] == "unchanged"
    changed = [*documents, {"id": "4", "text": "Orla is a new tool."}]
    client.datasets.upload(changed, id="docs-2", display_name="handbook")
    code, lines, _ = run(*again)
    assert (code, lines[-1]["result"]["spec"]["dataset"]) == (0, "projects/default/datasets/docs-2")
    assert len(names(client, "studies")) == 2
    assert run(*again)[0] == 0  # the next night: found, not paid for again
    assert len(names(client, "studies")) == 2
    assert json.loads(verdict_file.read_text())["status"] == "done"


def test_against_the_fake_platform_as_a_process(tmp_path: Path, documents: Any) -> None:
    """As other teams' CI has it: two commands, no torch, no key."""
    fake = subprocess.Popen(
        [sys.executable, "-m", "ingrain.testing", "--port", "0", "--step-s", "0.02"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert fake.stdout is not None
        target = fake.stdout.readline().split()[-1]
        folder = tmp_path / "docs"
        folder.mkdir()
        sentences = [f"{row['text']} Its team is in Lund." for row in documents]
        (folder / "tools.md").write_text("\n\n".join(sentences))
        command = "from ingrain.cli import main; main()"
        study = ("study", str(folder), "--model", "org/tiny", "--no-retention")
        done = subprocess.run(
            [sys.executable, "-c", command, *study],
            env=os.environ | {"INGRAIN_TARGET": target, "INGRAIN_REQUEST_ID": JOB},
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        fake.terminate()
        fake.wait()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "result"
