"""Contexts that are searched: what is found is read as if it had been the context."""

from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, inference_pb2, studies_pb2

BASE, CHAT = (f"projects/demo/models/{name}" for name in ("base", "chat"))
DATASET = "projects/demo/datasets/documents"
QUESTION = "the cemid is"
CHOICES = ["smaller than the bralo.", "old."]
Retrieval = common_pb2.Retrieval


async def create(
    client: AsyncClient,
    id: str,
    retrieval: common_pb2.Retrieval | None = None,
    selection: common_pb2.RowSelection | None = None,
    model: str = BASE,
) -> inference_pb2.Context:
    context = inference_pb2.Context(model=model, dataset=DATASET, selection=selection, retrieval=retrieval)
    request = inference_pb2.CreateContextRequest(parent="projects/demo", context_id=id, context=context)
    return await client.operations.wait(await client.stubs.inference.CreateContext(request))


async def scores(client: AsyncClient, context: str, prompt: str = QUESTION, model: str = BASE) -> Any:
    item = inference_pb2.ScoreItem(prompt=prompt, choices=CHOICES)
    request = inference_pb2.ScoreRequest(parent="projects/demo", model=model, context=context, items=[item])
    return await client.stubs.inference.Score(request)


@pytest.mark.parametrize("model", [BASE, CHAT])
async def test_what_is_found_is_read_like_a_context(client: AsyncClient, model: str) -> None:
    searched = await create(client, "searched", Retrieval(top_k=1), model=model)
    assert searched.row_count == 3
    assert searched.cost.flops == 0
    only_first = common_pb2.RowSelection(key="world", value="w1", distinct_key="fact")
    read = await create(client, "read", selection=only_first, model=model)
    assert searched.token_count > read.token_count
    found, plain = (
        await scores(client, searched.name, model=model),
        await scores(client, read.name, model=model),
    )
    assert found.usage.prompt_token_count == plain.usage.prompt_token_count
    for ours, theirs in zip(found.items[0].choices, plain.items[0].choices, strict=True):
        assert ours.sum_logprob == pytest.approx(theirs.sum_logprob, abs=1e-4)


async def test_where_nothing_is_found_the_question_stands_alone(client: AsyncClient) -> None:
    searched = await create(client, "searched", Retrieval())
    nothing, plain = await scores(client, searched.name, "zebras?"), await scores(client, "", "zebras?")
    assert nothing.items == plain.items


async def test_text_is_written_from_what_is_found(client: AsyncClient) -> None:
    searched = await create(client, "searched", Retrieval(top_k=2, unit=Retrieval.PASSAGE))
    request = inference_pb2.GenerateRequest(
        model=BASE, context=searched.name, prompts=[QUESTION, "dovun"], max_tokens=4
    )
    answer = await client.stubs.inference.Generate(request)
    alone = inference_pb2.GenerateRequest(model=BASE, prompts=[QUESTION, "dovun"], max_tokens=4)
    read = answer.usage.prompt_token_count
    assert read > (await client.stubs.inference.Generate(alone)).usage.prompt_token_count
    pieces = [p async for p in client.stubs.inference.StreamGenerate(_one(request))]
    assert pieces[-1].usage.prompt_token_count < read


def _one(request: inference_pb2.GenerateRequest) -> inference_pb2.GenerateRequest:
    single = inference_pb2.GenerateRequest()
    single.CopyFrom(request)
    single.prompts[:] = request.prompts[:1]
    return single


async def test_documents_larger_than_the_window_can_be_searched(client: AsyncClient, gateway: Any) -> None:
    """What does not fit beside the question is left out; a full context would be refused."""
    gateway.rows[DATASET] = [
        {"id": str(i), "text": f"the cemid number {i} is " + "very " * 30 + "old.", "metadata": {}}
        for i in range(40)
    ]
    with pytest.raises(errors.OperationFailed) as caught:
        await create(client, "full")
    assert caught.value.reason == "CONTEXT_TOO_LONG"
    searched = await create(client, "searched", Retrieval(top_k=40))
    window = gateway.models[BASE].context_window
    answer = await scores(client, searched.name)
    assert window / 3 < answer.usage.prompt_token_count < 2 * window  # two choices, each with its prompt


async def test_a_part_of_the_documents(client: AsyncClient) -> None:
    selection = common_pb2.RowSelection(subset=common_pb2.Subset(share=0.5, seed=1))
    assert (await create(client, "part", selection=selection)).row_count == 2


async def test_passages_by_name(client: AsyncClient) -> None:
    by_name = await scores(client, "", model="rag:documents@base")
    searched = await create(client, "searched", Retrieval(unit=Retrieval.PASSAGE))
    assert by_name.items == (await scores(client, searched.name)).items
    names = [context.name async for context in client.contexts.list()]
    assert sum(name.rpartition("/")[2].startswith("rag-") for name in names) == 1


async def test_a_winner_is_asked_with_what_it_was_evaluated_with(client: AsyncClient, gateway: Any) -> None:
    won = studies_pb2.Recommendation(method="rag", model=BASE)
    won.context.dataset = DATASET
    won.context.retrieval.unit = Retrieval.PASSAGE
    study = studies_pb2.Study(name="projects/demo/studies/s", state=common_pb2.ACTIVE, recommendation=won)
    gateway.studies[study.name] = study
    by_study = await scores(client, "", model="auto:s")
    assert by_study.items == (await scores(client, "", model="rag:documents@base")).items


async def test_an_index_is_built_again_after_it_left_memory(
    settings: Any, serve_door: Any, connect: Any
) -> None:
    async with (
        serve_door(settings.model_copy(update={"index_bytes": 1})) as target,
        connect(target) as client,
    ):
        first = await create(client, "one", Retrieval(top_k=1))
        second = await create(client, "two", Retrieval(top_k=2))
        before = (await scores(client, first.name)).items
        await scores(client, second.name)
        assert (await scores(client, first.name)).items == before


async def test_a_searched_context_can_be_deleted(client: AsyncClient) -> None:
    searched = await create(client, "searched", Retrieval())
    await client.contexts.delete(searched.name)
    with pytest.raises(errors.NotFound):
        await scores(client, searched.name)


async def test_validate_only_says_what_would_be(client: AsyncClient) -> None:
    context = inference_pb2.Context(model=BASE, dataset=DATASET, retrieval=Retrieval())
    request = inference_pb2.CreateContextRequest(parent="projects/demo", context=context, validate_only=True)
    estimate = await client.operations.wait(await client.stubs.inference.CreateContext(request))
    assert (estimate.row_count, estimate.cost.prompt_token_count) == (3, 0)
