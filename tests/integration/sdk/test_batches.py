"""Batches, and requests in every form, from Python and from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client, errors
from ingrain.inference import input_of
from ingrain.v1 import common_pb2, inference_pb2

PROMPTS = [
    {"id": "a", "prompt": "Which tool for data analysis?"},
    {"id": "b", "messages": [{"role": "user", "content": "What is Quill?"}]},
]


@pytest.fixture(autouse=True)
def stocked(client: Client, documents: list[dict[str, Any]]) -> None:
    client.datasets.upload(documents, id="docs")
    client.datasets.upload(PROMPTS, id="asked", kind="prompts")
    client.models.import_("bundled://small", id="small").result(timeout_s=10)


def test_a_batch_from_python(client: Client, probes: list[dict[str, Any]]) -> None:
    operation = client.batches.create("icl:docs@small", "asked", "b-1", max_tokens=5)
    made = operation.result(timeout_s=10)
    batch = client.batches.wait("b-1")
    assert (batch.state, batch.answered_count, batch.output_dataset) == (common_pb2.ACTIVE, 2, made.name)
    rows = list(client.batches.results("b-1"))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert "Quill" in rows[1]["completion"]
    assert list(client.batches.results("b-1", start=1)) == rows[1:]
    client.datasets.upload(probes, id="probes")
    client.batches.create("small", "probes", "b-2").result(timeout_s=10)
    scored, written = client.batches.results("b-2")
    assert len(scored["scores"]) == 2
    assert "completion" in written
    assert [b.name.rpartition("/")[2] for b in client.batches.list()] == ["b-2", "b-1"]
    client.batches.delete("b-2")
    with pytest.raises(errors.NotFound):
        client.batches.get("b-2")
    with pytest.raises(errors.Invalid, match="PROMPTS or PROBES"):
        client.batches.create("small", "docs")
    assert client.batches.create("small", "asked", validate_only=True).result().row_count == 2


def test_a_batch_from_the_command_line(ingrain, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    made = ingrain("batch", "create", "icl:docs@small", str(file), "--id", "b-1", "-o", "json")
    assert (made.returncode, json.loads(made.stdout)["answered_count"]) == (0, "2")
    assert '"step": "b-1' in made.stderr
    assert "b-1" in ingrain("batch", "list").stdout
    assert "2/2" in ingrain("batch", "show", "b-1").stdout
    lines = ingrain("batch", "results", "b-1").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]
    to = tmp_path / "answers.jsonl"
    assert "2 answers" in ingrain("batch", "results", "b-1", "--to", str(to)).stderr
    assert to.read_text().splitlines() == lines
    assert ingrain("batch", "cancel", "b-1").returncode == 0
    assert ingrain("batch", "show", "none").returncode == 3
    started = ingrain("batch", "create", "small", "asked", "--no-wait")
    assert "/operations/" in started.stdout
    estimate = ingrain("batch", "create", "small", "asked", "--estimate")
    assert json.loads(estimate.stdout)["row_count"] == "2"


def test_a_failed_batch_has_no_answers(client: Client, platform: Any) -> None:
    platform.fail_next("CreateBatch", "FAILED_PRECONDITION", "MODEL_GONE", "the model is gone")
    with pytest.raises(errors.OperationFailed, match="gone"):
        client.batches.create("small", "asked", "b-1").result(timeout_s=10)
    with pytest.raises(errors.WrongState, match="no answers"):
        list(client.batches.results("b-1"))


def test_requests_in_every_form(client: Client) -> None:
    asked = [{"role": "user", "content": "What is Quill?"}]
    answer = client.generate("icl:docs@small", messages=asked).generations[0].text
    assert "Quill" in answer
    both = client.generate("icl:docs@small", inputs=["What is Quill?", asked], logprobs=True, top_logprobs=2)
    assert [generation.text for generation in both.generations] == [answer, answer]
    pieces = [piece.text for piece in client.stream("icl:docs@small", messages=asked)]
    assert "".join(pieces).strip() == answer
    assert len(client.score("small", [("x", ["a", "b"])], priority="bulk").items) == 1
    with pytest.raises(errors.Invalid):
        client.score("small", [("x", ["a"])], priority="sometime")


def test_inputs_and_options_become_the_contracts() -> None:
    from ingrain import AsyncClient

    client = AsyncClient("127.0.0.1:1", project="demo")
    options = {"json_schema": {"type": "object"}, "priority": "bulk", "inputs": [[1, 2], "plain"]}
    request = client._generate_request("m", (), "", options)
    assert (request.json_schema, request.priority) == ('{"type": "object"}', inference_pb2.BULK)
    assert list(request.inputs[0].token_ids.ids) == [1, 2]
    assert request.inputs[1].text == "plain"
    assert not request.prompts
    assert input_of(inference_pb2.Input(text="x")).text == "x"
    with pytest.raises(errors.Invalid):
        input_of([{"role": "user", "words": "x"}])
    with pytest.raises(errors.Invalid):
        input_of([1.5])
