"""Generate, StreamGenerate, Score and CountTokens over a socket: answers, refusals, names."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, inference_pb2, studies_pb2, trainer_pb2

BASE, ADAPTER, CHAT = (f"projects/demo/models/{name}" for name in ("base", "adapter", "chat"))
ITEM = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])


def generate(**fields: Any) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(**{"model": BASE, "prompts": ["the old"], "max_tokens": 8} | fields)


def score(**fields: Any) -> inference_pb2.ScoreRequest:
    return inference_pb2.ScoreRequest(**{"model": BASE, "items": [ITEM]} | fields)


async def test_prompts_are_continued_in_their_order(client: AsyncClient) -> None:
    inference = client.stubs.inference
    answer = await inference.Generate(generate(prompts=["the old", "which tools", "the old"]))
    assert answer.model == BASE
    texts = [generation.text for generation in answer.generations]
    assert texts[0] == texts[2] != texts[1]
    assert answer.usage.generated_token_count == sum(g.token_count for g in answer.generations)
    assert answer.usage.prompt_token_count > 0
    assert answer.usage.flops > 0
    assert answer.usage.compute_seconds > 0
    for generation in answer.generations:
        ended = generation.finish_reason == inference_pb2.Generation.STOP
        assert ended or (generation.finish_reason, generation.token_count) == (
            inference_pb2.Generation.LENGTH,
            8,
        )


async def test_64_tokens_are_written_where_nothing_is_said(client: AsyncClient) -> None:
    answer = await client.stubs.inference.Generate(generate(max_tokens=0))
    (generation,) = answer.generations
    assert generation.token_count == 64 or generation.finish_reason == inference_pb2.Generation.STOP


async def test_a_stream_joins_to_what_generate_says(client: AsyncClient) -> None:
    inference = client.stubs.inference
    request = generate(prompts=["which tools"], max_tokens=30, temperature=1.0, seed=4)
    whole = await inference.Generate(request)
    pieces = [piece async for piece in inference.StreamGenerate(request)]
    assert "".join(piece.text for piece in pieces) == whole.generations[0].text
    assert [piece.HasField("usage") for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].finish_reason == whole.generations[0].finish_reason
    assert pieces[-1].usage.generated_token_count == whole.generations[0].token_count


async def test_scores_do_not_depend_on_what_else_is_asked(client: AsyncClient) -> None:
    inference = client.stubs.inference
    (alone,) = (await inference.Score(score())).items
    many = (await inference.Score(score(items=[ITEM] * 100))).items
    for one in (many[0], many[99]):
        for choice, expected in zip(one.choices, alone.choices, strict=True):
            assert choice.sum_logprob == pytest.approx(expected.sum_logprob, abs=1e-4)
            assert choice.mean_logprob == pytest.approx(choice.sum_logprob / choice.token_count)


async def test_an_adapter_is_served_by_its_name(client: AsyncClient) -> None:
    of_base = await client.stubs.inference.Score(score())
    of_adapter = await client.stubs.inference.Score(score(model=ADAPTER))
    assert of_adapter.model == ADAPTER
    assert abs(of_adapter.items[0].choices[0].sum_logprob - of_base.items[0].choices[0].sum_logprob) > 0.01


async def test_tokens_are_counted(client: AsyncClient) -> None:
    request = inference_pb2.CountTokensRequest(model=BASE, texts=["", "the", "the bralo"])
    assert list((await client.stubs.inference.CountTokens(request)).token_counts) == [0, 1, 2]


async def test_the_engine_says_where_it_runs(client: AsyncClient) -> None:
    engine = await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest())
    where = engine.environment
    assert (where.backend, where.device, where.process_count, where.dtype) == (
        "in process + transformers",
        "cpu",
        1,
        "float32",
    )
    assert dict(where.versions) == {"torch": version("torch"), "transformers": version("transformers")}
    assert not where.HasField("zero_stage")


@pytest.mark.parametrize(
    ("request_", "error", "reason", "field"),
    [
        (generate(model="projects/demo/models/none"), errors.NotFound, "RESOURCE_NOT_FOUND", ""),
        (generate(model="projects/other/models/base"), errors.NotFound, "RESOURCE_NOT_FOUND", ""),
        (generate(model="gpt"), errors.Invalid, "BAD_MODEL_NAME", "model"),
        (generate(model="icl:documents@base"), errors.Invalid, "NO_PARENT", "parent"),
        (generate(model="icl:documents", parent="projects/demo"), errors.Invalid, "BAD_MODEL_NAME", "model"),
        (generate(prompts=["the", ""]), errors.Invalid, "EMPTY_PROMPT", "prompts[1]"),
        (generate(prompts=["x" * ((1 << 20) + 1)]), errors.Invalid, "PROMPT_TOO_BIG", "prompts[0]"),
        (generate(prompts=["the", "old " * 600]), errors.Invalid, "PROMPT_TOO_LONG", "prompts[1]"),
        (generate(prompts=[]), errors.Invalid, "PROMPTS_OR_INPUTS", "prompts"),
        (generate(temperature=3.0), errors.Invalid, "INVALID_REQUEST", "temperature"),
        (score(items=[ITEM, {"prompt": "a", "choices": ["b", ""]}]), errors.Invalid, "EMPTY_CHOICE", "items[1].choices[1]"),
        (score(items=[{"prompt": "a"}]), errors.Invalid, "INVALID_REQUEST", "items[0].choices"),
        (score(context="projects/demo/contexts/none"), errors.NotFound, "RESOURCE_NOT_FOUND", ""),
        (score(context="projects/other/contexts/none"), errors.NotFound, "RESOURCE_NOT_FOUND", ""),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_and_the_server_lives(
    client: AsyncClient, request_: Any, error: type[errors.IngrainError], reason: str, field: str
) -> None:
    inference = client.stubs.inference
    ask = inference.Score if isinstance(request_, inference_pb2.ScoreRequest) else inference.Generate
    with pytest.raises(error) as caught:
        await ask(request_)
    assert caught.value.reason == reason
    assert [violation.field for violation in caught.value.field_violations] == ([field] if field else [])
    assert (await inference.Score(score())).items


async def test_streams_are_refused_alike(client: AsyncClient) -> None:
    for request, reason in (
        (generate(prompts=["a", "b"]), "ONE_PROMPT"),
        (generate(prompts=["old " * 600]), "PROMPT_TOO_LONG"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            _ = [piece async for piece in client.stubs.inference.StreamGenerate(request)]
        assert caught.value.reason == reason


async def test_a_model_in_the_making_is_not_asked(client: AsyncClient, gateway: Any) -> None:
    gateway.models[BASE].state = common_pb2.CREATING
    with pytest.raises(errors.WrongState, match="CREATING") as caught:
        await client.stubs.inference.Score(score())
    assert caught.value.reason == "MODEL_NOT_ACTIVE"


async def test_a_model_is_served_the_moment_it_is_ready(
    settings: Any, serve_door: Any, connect: Callable[..., AsyncClient], gateway: Any
) -> None:
    """Without a restart, also while names are remembered."""
    ready = gateway.models.pop(ADAPTER)
    remembering = settings.model_copy(update={"model_names_s": 600.0})
    async with serve_door(remembering) as target, connect(target) as client:
        of_base = await client.stubs.inference.Score(score())
        with pytest.raises(errors.NotFound):
            await client.stubs.inference.Score(score(model=ADAPTER))
        making = trainer_pb2.Model(name=ADAPTER, state=common_pb2.CREATING)
        gateway.models[ADAPTER] = making
        with pytest.raises(errors.WrongState):
            await client.stubs.inference.Score(score(model=ADAPTER))
        gateway.models[ADAPTER] = ready
        answer = await client.stubs.inference.Score(score(model=ADAPTER))
        assert answer.model == ADAPTER
        assert answer.items != of_base.items


async def test_files_that_are_gone_are_never_another_model(client: AsyncClient, gateway: Any) -> None:
    gateway.models[ADAPTER].uri += "-gone"
    gateway.models[ADAPTER].sha256 = "0" * 64
    with pytest.raises(errors.NotFound) as caught:
        await client.stubs.inference.Score(score(model=ADAPTER))
    assert caught.value.reason == "MODEL_FILES_MISSING"


async def test_icl_names_read_the_dataset_once(client: AsyncClient, gateway: Any) -> None:
    name = "icl:documents@base"
    first = await client.stubs.inference.Score(score(model=name, parent="projects/demo"))
    again = await client.stubs.inference.Score(score(model=name, parent="projects/demo"))
    assert first.model == BASE
    assert gateway.reads == 1
    assert again.usage.cached_token_count > 20
    assert again.items == first.items
    plain = await client.stubs.inference.Score(score())
    assert plain.items != first.items
    # Whoever deletes the context gets a new one at the next question.
    (context,) = [context async for context in client.contexts.list()]
    await client.contexts.delete(context.name)
    anew = await client.stubs.inference.Score(score(model=name, parent="projects/demo"))
    assert anew.items == first.items
    assert gateway.reads == 2


async def test_icl_names_of_what_does_not_fit_say_so(client: AsyncClient, gateway: Any) -> None:
    gateway.rows["projects/demo/datasets/long"] = [{"text": "old " * 600}]
    for _ in range(2):
        with pytest.raises(errors.Invalid) as caught:
            await client.stubs.inference.Score(score(model="icl:long@base", parent="projects/demo"))
        assert caught.value.reason == "CONTEXT_TOO_LONG"
        assert caught.value.metadata["context_window"] == "512"


@pytest.mark.parametrize("method", ["icl", "augmented_finetune"])
async def test_auto_names_mean_the_studys_winner(client: AsyncClient, gateway: Any, method: str) -> None:
    study = studies_pb2.Study(name="projects/demo/studies/s", state=common_pb2.ACTIVE)
    study.spec.dataset, study.spec.distinct_key = "projects/demo/datasets/documents", "fact"
    study.recommendation.method = method
    study.recommendation.model = BASE if method == "icl" else ADAPTER
    gateway.studies[study.name] = study
    answer = await client.stubs.inference.Score(score(model="auto:s", parent="projects/demo"))
    assert answer.model == study.recommendation.model
    contexts = [context async for context in client.contexts.list()]
    # Of a fact told twice the first telling is read.
    assert [context.row_count for context in contexts] == ([2] if method == "icl" else [])


async def test_a_study_without_a_recommendation_has_no_winner(client: AsyncClient, gateway: Any) -> None:
    gateway.studies["projects/demo/studies/s"] = studies_pb2.Study(state=common_pb2.CREATING)
    with pytest.raises(errors.WrongState) as caught:
        await client.stubs.inference.Score(score(model="auto:s", parent="projects/demo"))
    assert caught.value.reason == "STUDY_NOT_READY"


async def test_a_cancelled_stream_leaves_the_engine_free(client: AsyncClient) -> None:
    pieces = client.stubs.inference.StreamGenerate(generate(max_tokens=480, temperature=2.0))
    async for _ in pieces:
        break
    pieces.cancel()
    async with asyncio.timeout(30):
        await client.stubs.inference.Score(score())


async def test_calls_are_asked_to_come_back_while_the_engine_starts(
    settings: Any, serve_door: Any, connect: Callable[..., AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # nobody there
    ray = settings.model_copy(update={"inference_backend": "serve"})
    async with serve_door(ray, with_engine=False) as target, connect(target) as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.stubs.inference.Score(score())
        assert caught.value.reason == "ENGINE_STARTING"
        assert caught.value.retry_after_s == 2.0
