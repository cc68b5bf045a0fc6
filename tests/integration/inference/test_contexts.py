"""contexts/ over a socket: selected, rendered, read once, refused where they do not fit."""

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, datasets_pb2, inference_pb2

BASE, ADAPTER, CHAT = (f"projects/demo/models/{name}" for name in ("base", "adapter", "chat"))
DATASET = "projects/demo/datasets/documents"
ITEM = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])


def request(id: str = "", model: str = BASE, dataset: str = DATASET, **fields: Any) -> Any:
    context = inference_pb2.Context(model=model, dataset=dataset, selection=fields.pop("selection", None))
    return inference_pb2.CreateContextRequest(
        parent="projects/demo", context_id=id, context=context, **fields
    )


async def create(client: AsyncClient, *arguments: Any, **fields: Any) -> inference_pb2.Context:
    operation = await client.stubs.inference.CreateContext(request(*arguments, **fields))
    return await client.operations.wait(operation)


def score(context: str, model: str = BASE) -> inference_pb2.ScoreRequest:
    return inference_pb2.ScoreRequest(model=model, context=context, items=[ITEM] * 5)


async def test_a_context_is_read_once_and_shared_by_all_questions(
    client: AsyncClient, service: AsyncClient, storage: tuple[Path, Any]
) -> None:
    context = await create(client, "all")
    assert context.state == common_pb2.ACTIVE
    assert (context.name, context.row_count) == ("projects/demo/contexts/all", 3)
    assert context.cost.prompt_token_count == context.token_count > 20
    assert context.cost.flops > 0
    assert context.cost.compute_seconds > 0
    answer = await client.stubs.inference.Score(score(context.name))
    assert answer.usage.cached_token_count == 5 * context.token_count
    again = await client.stubs.inference.Score(score(context.name))
    assert again.usage.prompt_token_count == answer.usage.prompt_token_count
    plain = await client.stubs.inference.Score(score(""))
    assert plain.items != answer.items
    # The text and its manifest lie in storage; services see where.
    seen = await service.stubs.inference.GetContext(inference_pb2.GetContextRequest(name=context.name))
    text = Path(seen.uri.removeprefix("file://"))
    assert text.read_text().splitlines() == [
        "the bralo is bigger than the cemid.",
        "a bralo, bigger than a cemid.",
        "a dovun was seen near the old bridge.",
    ]
    manifest = json.loads((text.parent / "manifest.json").read_text())
    assert manifest["files"][0]["size_bytes"] == text.stat().st_size
    await client.contexts.delete("all")
    assert not [path for path in text.parents[1].rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("selection", "first_words"),
    [
        ({"key": "world", "value": "w1"}, ["the bralo", "a bralo,"]),
        ({"distinct_key": "fact"}, ["the bralo", "a dovun"]),
        ({"key": "world", "value": "w1", "distinct_key": "fact"}, ["the bralo"]),
        ({"key": "fact", "value": "2"}, ["a dovun"]),
    ],
)
async def test_rows_are_selected(
    service: AsyncClient, selection: dict[str, str], first_words: list[str]
) -> None:
    context = await create(service, "some", selection=common_pb2.RowSelection(**selection))
    lines = Path(context.uri.removeprefix("file://")).read_text().splitlines()
    assert [" ".join(line.split()[:2]) for line in lines] == first_words
    assert context.row_count == len(first_words)


async def test_a_cache_that_was_lost_is_computed_again(
    settings: Any, serve_door: Any, connect: Callable[..., AsyncClient]
) -> None:
    async with serve_door(settings) as target, connect(target) as client:
        context = await create(client, "kept")
        before = await client.stubs.inference.Score(score(context.name))
    async with serve_door(settings) as target, connect(target) as client:
        cold = await client.stubs.inference.Score(score(context.name))
        warm = await client.stubs.inference.Score(score(context.name))
    assert before.items == cold.items == warm.items
    # The request that caused the reading says so.
    assert cold.usage.prompt_token_count - warm.usage.prompt_token_count == context.token_count
    assert cold.usage.flops > warm.usage.flops


async def test_an_adapter_reads_the_context_of_its_base_with_its_own_weights(client: AsyncClient) -> None:
    context = await create(client, "shared")
    of_base = await client.stubs.inference.Score(score(context.name))
    of_adapter = await client.stubs.inference.Score(score(context.name, ADAPTER))
    own = await create(client, "own", ADAPTER)
    again = await client.stubs.inference.Score(score(own.name, ADAPTER))
    assert of_adapter.items == again.items != of_base.items
    with pytest.raises(errors.Invalid) as caught:
        await client.stubs.inference.Score(score(context.name, CHAT))
    assert caught.value.reason == "CONTEXT_OF_ANOTHER_MODEL"


@pytest.mark.parametrize("model", [BASE, CHAT])
async def test_documents_that_do_not_fit_are_refused_with_counts_and_never_cut(
    client: AsyncClient, gateway: Any, model: str
) -> None:
    gateway.rows["projects/demo/datasets/long"] = [{"text": "the old bridge"}] * 300
    operation = await client.stubs.inference.CreateContext(
        request("long", model, "projects/demo/datasets/long")
    )
    with pytest.raises(errors.OperationFailed) as caught:
        await client.operations.wait(operation)
    assert caught.value.reason == "CONTEXT_TOO_LONG"
    assert int(caught.value.metadata["token_count"]) > 512 == int(caught.value.metadata["context_window"])
    context = await client.stubs.inference.GetContext(
        inference_pb2.GetContextRequest(name="projects/demo/contexts/long")
    )
    assert context.state == common_pb2.FAILED
    with pytest.raises(errors.WrongState, match="FAILED"):
        await client.stubs.inference.Score(score(context.name, model))
    with pytest.raises(errors.Invalid) as said:
        await client.stubs.inference.CreateContext(
            request("other", model, "projects/demo/datasets/long", validate_only=True)
        )
    assert said.value.reason == "CONTEXT_TOO_LONG"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model": "projects/demo/models/none"}, "RESOURCE_NOT_FOUND"),
        ({"model": "projects/other/models/base"}, "RESOURCE_NOT_FOUND"),
        ({"dataset": "projects/demo/datasets/none"}, "RESOURCE_NOT_FOUND"),
        ({"dataset": "projects/demo/datasets/probes"}, "NOT_DOCUMENTS"),
        ({"model": "base"}, "INVALID_REQUEST"),
        ({"id": "A"}, "INVALID_REQUEST"),
    ],
)
async def test_what_could_never_become_a_context_is_refused_at_once(
    client: AsyncClient, gateway: Any, fields: dict[str, Any], reason: str
) -> None:
    gateway.rows["projects/demo/datasets/probes"] = [{"text": "a"}]
    gateway.kinds["projects/demo/datasets/probes"] = datasets_pb2.Dataset.PROBES
    with pytest.raises(errors.IngrainError) as caught:
        await client.stubs.inference.CreateContext(request(**fields))
    assert caught.value.reason == reason
    assert [context async for context in client.contexts.list()] == []


async def test_pinned_contexts_take_no_more_than_there_is(
    settings: Any, serve_door: Any, connect: Callable[..., AsyncClient], gateway: Any
) -> None:
    gateway.rows["projects/demo/datasets/others"] = [
        {"text": row["text"] + " twice."} for row in gateway.rows[DATASET]
    ]
    small = settings.model_copy(update={"cache_bytes": 45_000})  # room for one
    async with serve_door(small) as target, connect(target) as client:
        first = await (await client.contexts.create("base", "documents", "first", pinned=True)).result(60)
        assert small.cache_bytes / 2 < first.cache_bytes <= small.cache_bytes
        with pytest.raises(errors.OperationFailed) as caught:
            await (await client.contexts.create("base", "others", "second", pinned=True)).result(60)
        assert (caught.value.reason, caught.value.metadata["pinned_bytes"]) == (
            "NO_ROOM_TO_PIN",
            str(first.cache_bytes),
        )
        held = (await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest())).replica
        assert held.pinned_context_bytes == first.cache_bytes
        await client.contexts.delete("first")
        await (await client.contexts.create("base", "others", "third", pinned=True)).result(60)


async def test_a_selection_of_nothing_fails(client: AsyncClient) -> None:
    with pytest.raises(errors.OperationFailed) as caught:
        await create(client, "none", selection=common_pb2.RowSelection(key="world", value="w9"))
    assert caught.value.reason == "NOTHING_SELECTED"


async def test_an_estimate_makes_nothing(client: AsyncClient) -> None:
    estimate = await create(client, "wished", validate_only=True)
    made = await create(client, "made")
    assert estimate.row_count == 3
    assert estimate.cost.prompt_token_count == made.token_count
    assert estimate.cost.flops == pytest.approx(made.cost.flops)
    assert [context.name async for context in client.contexts.list()] == [made.name]


async def test_the_same_request_makes_one_context(client: AsyncClient) -> None:
    id = str(uuid.uuid4())
    first = await client.stubs.inference.CreateContext(request("one", request_id=id))
    again = await client.stubs.inference.CreateContext(request("one", request_id=id))
    assert first.name == again.name
    await client.operations.wait(first)
    with pytest.raises(errors.AlreadyExists):
        await client.stubs.inference.CreateContext(request("one"))


async def test_contexts_are_found_listed_and_deleted(
    client: AsyncClient, address: str, connect: Callable[..., AsyncClient]
) -> None:
    for id in ("one", "two"):
        await create(client, id)
    assert [context.name async for context in client.contexts.list()] == [
        "projects/demo/contexts/two",
        "projects/demo/contexts/one",
    ]
    get = inference_pb2.GetContextRequest(name="projects/demo/contexts/one")
    assert (await client.stubs.inference.GetContext(get)).uri == ""  # for services only
    async with connect(address, project="projects/other") as stranger:
        for call in (
            stranger.stubs.inference.GetContext(get),
            stranger.stubs.inference.DeleteContext(inference_pb2.DeleteContextRequest(name=get.name)),
        ):
            with pytest.raises(errors.NotFound):
                await call
    warm = await client.stubs.inference.Score(score("projects/demo/contexts/two"))
    await client.contexts.delete("projects/demo/contexts/one")
    with pytest.raises(errors.NotFound):
        await client.stubs.inference.Score(score("projects/demo/contexts/one"))
    # The other one, of the same text, is read again.
    cold = await client.stubs.inference.Score(score("projects/demo/contexts/two"))
    assert cold.items == warm.items
    assert cold.usage.prompt_token_count > warm.usage.prompt_token_count


async def test_contexts_wait_for_an_engine_that_starts_without_failing(
    settings: Any, serve_door: Any, connect: Callable[..., AsyncClient]
) -> None:
    async with serve_door(settings, with_engine=False) as target, connect(target) as client:
        operation = await client.stubs.inference.CreateContext(request("patient"))
        await asyncio.sleep(1.0)
        found = await client.operations.get(operation.name)
        assert not found.done
    # Another process takes over what this one never began.
    async with serve_door(settings) as target, connect(target) as client:
        made = await client.operations.wait(operation.name)
        assert made.name == "projects/demo/contexts/patient"
