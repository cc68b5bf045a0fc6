"""Bad input through the whole platform: a clear answer each time, and the servers stay up."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2, studies_pb2, trainer_pb2
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


@pytest.fixture(scope="module", autouse=True)
def unharmed(platform_address: str, platform_folder: Path) -> Iterator[None]:
    """After all of it every service is the process that it was before."""
    before = processes(platform_folder)
    yield
    assert processes(platform_folder) == before


def processes(folder: Path) -> dict[str, Any]:
    """By service. The supervisor would start again what died, and write it down there."""
    return dict(json.loads((folder / "run" / "platform.json").read_text())["services"])


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
        id = f"rows-{uuid.uuid4().hex}"
        with pytest.raises(errors.Invalid, match=words) as caught:
            await client.datasets.upload(rows, id=id)
        # Nothing is left of it, and the name is free.
        with pytest.raises(errors.NotFound):
            await client.datasets.get(id)
        assert (await client.datasets.upload([DOCUMENT], id=id)).row_count == 1
    assert caught.value.field_violations[0].field == field


@pytest.mark.parametrize("content", ["", "\n\n"])
async def test_an_empty_data_set(platform_address: str, tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.jsonl").write_text(content)
    async with AsyncClient(platform_address) as client:
        with pytest.raises(errors.Invalid, match=r"no rows|empty"):
            await client.datasets.upload(tmp_path / "empty.jsonl")
        # As a caller sends it who has no SDK to look first.
        header = datasets_pb2.UploadDatasetHeader(parent=client.parent, dataset_id="empty")
        messages = [datasets_pb2.UploadDatasetRequest(header=header)]
        if content:
            messages.append(datasets_pb2.UploadDatasetRequest(chunk=content.encode()))
        with pytest.raises(errors.Invalid, match=r"no rows|empty"):
            await client.stubs.datasets.UploadDataset(messages)


async def test_a_name_that_is_taken(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        await client.datasets.upload([DOCUMENT], id="taken")
        with pytest.raises(errors.AlreadyExists, match="taken"):
            await client.datasets.upload([DOCUMENT | {"text": "another."}], id="taken")
        rows = [row async for row in client.datasets.rows("taken")]
        assert [row["text"] for row in rows] == [DOCUMENT["text"]]
        model = await bundled_model(client)
        with pytest.raises(errors.AlreadyExists, match="models"):
            await client.models.import_("bundled://small", id=model.rsplit("/", 1)[1])


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


async def test_a_prompt_that_is_too_long(platform_address: str) -> None:
    """Asked for a text or for scores, and beside one that is not too long: nothing is cut."""
    long = "bonik are brighter than trafem, and so on. " * 400
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        with pytest.raises(errors.Invalid, match="tokens") as caught:
            await client.generate(model, ["Did you know that", long], max_tokens=2)
        assert caught.value.field_violations[0].field == "prompts[1]"
        with pytest.raises(errors.Invalid, match="tokens"):
            await client.score(model, [(long, ["dimmer.", "brighter."])])


async def test_a_message_over_the_limit(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        with pytest.raises(errors.Exhausted, match="several calls") as caught:
            await client.generate(model, ["x" * 1_000_000] * 5, max_tokens=1)
        assert caught.value.reason == "MESSAGE_TOO_LARGE"
        # One field beyond its own limit is named.
        with pytest.raises(errors.Invalid, match=r"prompts\[0\]"):
            await client.generate(model, "x" * 1_100_000, max_tokens=1)
        # A data set of any size goes by pieces.
        rows = [{"id": str(n), "text": "bonik are brighter than trafem. " * 2000} for n in range(80)]
        assert (await client.datasets.upload(rows)).size_bytes > 5_000_000


async def test_a_call_that_does_not_exist(platform_address: str) -> None:
    async with grpc.aio.insecure_channel(platform_address) as channel:
        for method in ("/ingrain.v1.Studies/Guess", "/ingrain.v9.Studies/CreateStudy"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(b"", timeout=20)
            error = errors.from_rpc_error(caught.value)
            assert isinstance(error, errors.Unsupported)
            assert method in error.message


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
        with pytest.raises(errors.Invalid) as refused:
            await client.stubs.trainer.CreateModel(request)
        assert (
            refused.value.reason == "TRAINING_DOES_NOT_FIT"
        )  # a thousandth of the machine's memory for each
        request.training.num_workers = 9
        started = await client.stubs.trainer.CreateModel(request)
        said = set()
        async with asyncio.timeout(120):
            while not (operation := await client.operations.get(started.name)).done:
                said.add((operation.metadata.stage, operation.metadata.message))
                await asyncio.sleep(0.5)
        assert any(stage == "waiting" and "9 CPU" in message for stage, message in said), said
        with pytest.raises(errors.OperationFailed, match="Ask for fewer workers") as caught:
            await operation.result(timeout_s=5)
        assert caught.value.reason == "NO_RAY_RESOURCES"


async def test_the_platform_still_answers(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        assert (await client.generate(model, "Did you know that", max_tokens=3)).usage.generated_token_count
