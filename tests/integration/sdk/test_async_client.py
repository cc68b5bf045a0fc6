"""AsyncClient over real sockets: every resource, errors of every shape of call, long work."""

import hashlib
import json
from pathlib import Path

import grpc
import pytest

from ingrain import AsyncClient, errors
from ingrain.testing import FakePlatform
from ingrain.v1 import common_pb2


@pytest.fixture
async def client(platform: FakePlatform):
    async with AsyncClient(platform.target) as connected:
        yield connected


@pytest.fixture
async def small(client: AsyncClient):
    return await (await client.models.import_("org/small", id="small")).result()


async def test_rows_come_back_as_they_went(client: AsyncClient) -> None:
    rows = [{"id": str(n), "text": f"Line\u2028{n} " + "x" * 9000, "metadata": {"n": n}} for n in range(300)]
    dataset = await client.datasets.upload(rows, id="many", display_name="Many", labels={"of": "test"})
    assert (dataset.row_count, dataset.state, dataset.labels["of"]) == (300, common_pb2.ACTIVE, "test")
    assert dataset.size_bytes > 2 << 20
    assert [row async for row in client.datasets.rows("many")] == rows
    assert [row["id"] async for row in client.datasets.rows("many", start=150, limit=101)] == [
        str(n) for n in range(150, 251)
    ]


async def test_upload_repeated_with_its_request_id_is_the_same(client: AsyncClient, documents) -> None:
    request_id = "b6a7a9be-6a0d-4c3e-9f4b-0a8c6a0b8f5e"
    first = await client.datasets.upload(documents, request_id=request_id)
    assert await client.datasets.upload(documents, request_id=request_id) == first
    with pytest.raises(errors.Invalid) as caught:
        await client.datasets.upload(documents[:1], request_id=request_id)
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_refused_row_is_named_over_the_wire(client: AsyncClient, probes) -> None:
    probes[0]["answer"] = "elsewhere"
    with pytest.raises(errors.Invalid) as caught:
        await client.datasets.upload(probes, kind="probes")
    assert caught.value.reason == "ANSWER_NOT_A_CHOICE"
    assert caught.value.field_violations[0].field == "rows[0].answer"
    assert caught.value.request_id
    with pytest.raises(errors.Invalid, match="unknown kind"):
        await client.datasets.upload(probes, kind="riddles")


async def test_stream_error_arrives_as_ours(client: AsyncClient) -> None:
    with pytest.raises(errors.NotFound) as caught:
        await client.datasets.rows("nothing").__anext__()
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


async def test_lists_go_over_pages(client: AsyncClient, documents) -> None:
    for number in range(5):
        await client.datasets.upload(documents, id=f"d{number}")
    names = [dataset.name async for dataset in client.datasets.list(page_size=2)]
    assert names == [f"projects/default/datasets/d{number}" for number in (4, 3, 2, 1, 0)]
    await client.datasets.delete("d3")
    assert len([d async for d in client.datasets.list()]) == 4
    with pytest.raises(errors.NotFound):
        await client.datasets.get("d3")


async def test_checkpoint_folder_is_uploaded(client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"w" * (5 << 20))
    operation = await client.models.import_(tmp_path, id="mine", display_name="Mine")
    model = await operation.result()
    assert (model.name, model.source, model.display_name) == (
        "projects/default/models/mine",
        "upload",
        "Mine",
    )
    digests = "".join(
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(tmp_path.iterdir())
    )
    assert model.sha256 == hashlib.sha256(digests.encode()).hexdigest()


async def test_damaged_upload_is_noticed(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"w")
    monkeypatch.setattr("ingrain.testing.models.folder_sha256", lambda digests: "0" * 64)
    with pytest.raises(errors.Internal, match="arrived damaged"):
        await client.models.upload(tmp_path)


async def test_train_watch_and_find_again(client: AsyncClient, small, documents) -> None:
    await client.datasets.upload(documents, id="docs")
    operation = await client.models.create(
        "small", {"docs": 2.0}, id="tuned", method="lora", max_steps=7, r=4
    )
    assert operation.name.startswith("projects/default/models/tuned/operations/")
    steps = [snapshot.step async for snapshot in client.models.watch("tuned")]
    assert steps == [1, 2, 3, 4, 5]
    again = await client.operations.get(operation.name)
    seen = []
    model = await again.result(on_progress=lambda metadata: seen.append(metadata.verb))
    assert model.training.datasets[0].weight == 2.0
    assert (model.training.r, model.summary.step_count) == (4, 7)
    assert seen[-1] == "CreateModel"
    assert [o.name async for o in client.operations.list("models/tuned")] == [operation.name]


async def test_failed_operation_tells_what_the_platform_said(
    client: AsyncClient, platform: FakePlatform, small, documents
) -> None:
    await client.datasets.upload(documents, id="docs")
    platform.fail_next("CreateModel", "RESOURCE_EXHAUSTED", "NO_RAY_RESOURCES", "no workers within 60 s")
    operation = await client.models.create("small", "docs", id="tuned")
    with pytest.raises(errors.OperationFailed) as caught:
        await operation.result()
    assert (caught.value.reason, caught.value.operation) == ("NO_RAY_RESOURCES", operation.name)
    assert isinstance(caught.value.cause, errors.Exhausted)
    assert (await client.models.get("tuned")).state == common_pb2.FAILED
    with pytest.raises(errors.WrongState):
        await client.generate("tuned", "hello")


async def test_cancel(documents) -> None:
    with FakePlatform(step_s=0.2) as platform:
        async with AsyncClient(platform.target) as client:
            await client.datasets.upload(documents, id="docs")
            await (await client.models.import_("org/small", id="small")).result()
            operation = await client.models.create("small", "docs")
            await operation.cancel()
            with pytest.raises(errors.OperationCancelled):
                await operation.result(timeout_s=10)


async def test_waiting_may_end_before_the_work(documents) -> None:
    with FakePlatform(step_s=5) as platform:
        async with AsyncClient(platform.target) as client:
            operation = await client.models.import_("org/small")
            with pytest.raises(errors.DeadlineExceeded, match="it goes on") as caught:
                await operation.result(timeout_s=0.3)
            assert caught.value.operation == operation.name
            assert not (await operation.refresh()).done


async def test_validate_only_gives_the_estimate(client: AsyncClient, small, documents) -> None:
    await client.datasets.upload(documents, id="docs")
    operation = await client.models.create("small", "docs", id="never", max_steps=40, validate_only=True)
    assert (await operation.result()).step_count == 40
    with pytest.raises(errors.NotFound):
        await client.models.get("never")


async def test_asking(client: AsyncClient, small, documents) -> None:
    await client.datasets.upload(documents, id="docs")
    question = "What is smaller than Zed?"
    assert await client.ask("small", question) == "I do not know."
    assert await client.ask("small", question, dataset="docs") == documents[1]["text"]
    context = await (await client.contexts.create("small", "docs", id="held")).result()
    assert (context.row_count, context.state) == (3, common_pb2.ACTIVE)
    assert await client.ask("small", question, context="held") == documents[1]["text"]
    pieces = [piece async for piece in client.stream("icl:docs@small", question)]
    assert "".join(piece.text for piece in pieces).strip() == documents[1]["text"]
    assert pieces[-1].usage.prompt_token_count > 0
    scores = await client.score("icl:docs@small", [("Quill is smaller than", ["Zed", "Marlow"])])
    zed, marlow = scores.items[0].choices
    assert zed.sum_logprob > marlow.sum_logprob
    assert await client.count_tokens("small", ["one two", "three"]) == [2, 1]


async def test_study_from_upload_to_report(client: AsyncClient, small, documents, probes) -> None:
    await client.datasets.upload(documents, id="docs")
    await client.datasets.upload(probes, id="probes", kind="probes")
    operation = await client.studies.create(
        "docs", "probes", "small", id="s1", training={"max_steps": 10}, augmentation={"seed": 3}, seed=4
    )
    events = [event async for event in client.studies.watch("s1", start_sequence=2)]
    assert [event.sequence for event in events] == [2, 3, 4]
    study = await operation.result()
    assert (study.spec.training.max_steps, study.spec.seed) == (10, 4)
    report = await client.studies.report("s1")
    assert report["methods"]["icl"]["kinds"]["list"]["accuracy"] == 1.0
    assert report["methods"]["base"]["kinds"]["list"]["accuracy"] == 0.0
    assert (await client.studies.report("s1", "html")).startswith("<!doctype html>")
    assert "Zed" in await client.ask(study.name, "Which tools for data analysis are there?")
    with pytest.raises(errors.Invalid):
        await client.studies.report("s1", "pdf")


async def test_evaluation(client: AsyncClient, small, documents, probes) -> None:
    await client.datasets.upload(documents, id="docs")
    await client.datasets.upload(probes, id="probes")
    evaluation = await (await client.evaluations.create("small", "probes", dataset="docs")).result()
    assert {kind.kind: kind.value for kind in evaluation.kinds} == {"verbatim": 1.0, "list": 1.0}


async def test_keys(client: AsyncClient) -> None:
    made = await client.keys.create("laptop", read_only=True)
    assert made.secret
    assert (await client.keys.revoke(made.key.name)).HasField("revoke_time")
    assert [key.read_only async for key in client.keys.list()] == [True]


async def test_wrong_key() -> None:
    with FakePlatform(api_key="right") as platform:
        async with AsyncClient(platform.target, api_key="wrong") as client:
            with pytest.raises(errors.Unauthenticated):
                await client.models.get("m")
            with pytest.raises(errors.Unauthenticated):
                await client.datasets.upload([{"text": "x"}])
            with pytest.raises(errors.Unauthenticated):
                [row async for row in client.datasets.rows("d")]
        async with AsyncClient(platform.target, api_key="right") as client:
            assert [m async for m in client.models.list()] == []


async def test_unknown_method(client: AsyncClient) -> None:
    with pytest.raises(errors.Unsupported):
        await client.evaluations.compare("a1", "b1")
