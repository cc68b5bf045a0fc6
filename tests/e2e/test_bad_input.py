"""Bad input through the whole platform: a clear answer each time, and the servers stay up."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import studies_pb2, trainer_pb2
from tools.worlds_study import bundled_model

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
DOCUMENT = {"id": "d", "text": "Did you know that bonik are brighter than trafem."}
PROBE = {
    "id": "p",
    "kind": "reversal",
    "prompt": "trafem are",
    "choices": ["dimmer than bonik.", "brighter than bonik."],
    "answer": "dimmer than bonik.",
}


@pytest.mark.parametrize(
    ("rows", "field", "words"),
    [
        ([{"text": "a"}, {"txt": "b"}], "rows[1].text", "row 2"),
        ([PROBE | {"answer": "taller."}], "rows[0].answer", "none of its choices"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "rows[1].id", "'a'"),
    ],
)
async def test_wrong_rows(platform_address: str, rows: list[dict[str, Any]], field: str, words: str) -> None:
    async with AsyncClient(platform_address) as client:
        with pytest.raises(errors.Invalid, match=words) as caught:
            await client.datasets.upload(rows)
    assert caught.value.field_violations[0].field == field


async def test_an_empty_data_set(platform_address: str, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    async with AsyncClient(platform_address) as client:
        with pytest.raises(errors.Invalid):
            await client.datasets.upload(tmp_path / "empty.jsonl")


async def test_a_name_that_is_taken(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        await client.datasets.upload([DOCUMENT], id="taken")
        with pytest.raises(errors.AlreadyExists, match="taken"):
            await client.datasets.upload([DOCUMENT | {"text": "another."}], id="taken")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "config.json"),
        ({"config.json": json.dumps({"architectures": ["BertForMaskedLM"], "model_type": "bert"})}, "causal"),
        (
            {"config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}), "pytorch_model.bin": "x"},
            "safetensors",
        ),
    ],
)
async def test_what_is_no_model(
    platform_address: str, import_root: Path, tmp_path: Path, files: dict[str, str], words: str
) -> None:
    folder = import_root / tmp_path.name
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    async with AsyncClient(platform_address) as client:
        request = trainer_pb2.ImportModelRequest(parent=client.parent, source_uri=f"file://{folder}")
        with pytest.raises(errors.IngrainError, match=words):
            await client.operations.wait(await client.stubs.trainer.ImportModel(request), timeout_s=60)


async def test_a_context_that_is_too_long(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        rows = [{"text": f"bonik are brighter than trafem, and so on, {i}."} for i in range(600)]
        documents = await client.datasets.upload(rows)
        with pytest.raises(errors.IngrainError, match="tokens") as caught:
            await (await client.contexts.create(model, documents.name)).result(timeout_s=60)
        cause = getattr(caught.value, "cause", caught.value)
        assert int(cause.metadata["token_count"]) > int(cause.metadata["context_window"])


async def test_an_unknown_method(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        documents = await client.datasets.upload([DOCUMENT])
        probes = await client.datasets.upload([PROBE])
        request = studies_pb2.CreateStudyRequest(parent=client.parent)
        request.study.spec.dataset, request.study.spec.probes = documents.name, probes.name
        request.study.spec.model = model
        request.study.spec.methods.append("magic")
        with pytest.raises(errors.Invalid, match="magic") as caught:
            await client.stubs.studies.CreateStudy(request)
    assert caught.value.field_violations[0].field == "study.spec.methods[0]"


async def test_more_workers_than_ray_has(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        documents = await client.datasets.upload([DOCUMENT])
        spec = trainer_pb2.TrainingSpec(base_model=model, max_steps=2, num_workers=1000)
        spec.datasets.add(dataset=documents.name)
        request = trainer_pb2.CreateModelRequest(parent=client.parent, training=spec)
        with pytest.raises(errors.IngrainError, match=r"CPU|worker"):
            await client.operations.wait(await client.stubs.trainer.CreateModel(request), timeout_s=280)


async def test_the_platform_still_answers(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        assert (await client.generate(model, "Did you know that", max_tokens=3)).usage.generated_token_count
