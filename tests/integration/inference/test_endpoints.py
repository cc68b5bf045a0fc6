"""Models that another server answers for, against a server that speaks the API over a socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, inference_pb2, trainer_pb2
from services.inference.settings import InferenceSettings

MODEL = "projects/demo/models/elsewhere"
DATASET = "projects/demo/datasets/documents"
SECRET = "sk-quite-secret-0123456789"
ALL_DOCUMENTS = "the bralo is bigger than the cemid.\na bralo, bigger than a cemid.\na dovun was seen near the old bridge."

CHOICE = {
    "choices": [{"message": {"content": "once"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


class ChatServer:
    """Answers `echo: <message>`; what `troubles` holds comes first, a status (and headers) for each request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.troubles: list[tuple[int, dict[str, str], Any]] = []
        self.usage: dict[str, Any] | None = {
            "prompt_tokens": 11,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
        self.finish_reason = "stop"
        self.wait_s = 0.0
        self.at_once = self.most_at_once = 0
        self.broken_stream = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        self.keys.append(request.headers.get("Authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.wait_s)
            if self.troubles:
                status, headers, body = self.troubles.pop(0)
                return web.Response(status=status, headers=headers, text=json.dumps(body))
            text = f"echo: {asked['messages'][0]['content']}"
            if asked.get("stream"):
                return await self._stream(request, text)
            choice = {
                "message": {"role": "assistant", "content": text},
                "finish_reason": self.finish_reason,
            }
            return web.json_response({"choices": [choice], "usage": self.usage})
        finally:
            self.at_once -= 1

    async def _stream(self, request: web.Request, text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events: list[dict[str, Any]] = [
            {"choices": [{"delta": {"content": word + " "}}]} for word in text.split()
        ]
        if not self.broken_stream:
            events.append({"choices": [{"delta": {}, "finish_reason": self.finish_reason}]})
            events.append({"choices": [], "usage": self.usage})
        for event in events:
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        if not self.broken_stream:
            await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def chat() -> AsyncIterator[ChatServer]:
    server = ChatServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


@pytest.fixture
def settings(settings: InferenceSettings, chat: ChatServer) -> InferenceSettings:
    host = chat.url.removeprefix("http://").removesuffix("/v1")
    return settings.model_copy(
        update={"endpoint_backoff_s": 0.01, "endpoint_keys": f"OTHER=else.where, LAB_KEY={host}"}
    )


@pytest.fixture(autouse=True)
def elsewhere(gateway: Any, chat: ChatServer) -> trainer_pb2.Model:
    model = trainer_pb2.Model(
        name=MODEL,
        state=common_pb2.ACTIVE,
        sha256="e" * 64,
        context_window=200,
        chat_template=True,
        endpoint=trainer_pb2.Endpoint(base_url=chat.url, model_id="big", context_window=200),
    )
    gateway.models[MODEL] = model
    return model


async def generate(
    client: AsyncClient, *prompts: str, model: str = MODEL, **more: Any
) -> inference_pb2.GenerateResponse:
    request = inference_pb2.GenerateRequest(parent="projects/demo", model=model, prompts=prompts, **more)
    return await client.stubs.inference.Generate(request)


async def create(client: AsyncClient, id: str, **more: Any) -> inference_pb2.Context:
    context = inference_pb2.Context(model=MODEL, dataset=DATASET, **more)
    request = inference_pb2.CreateContextRequest(parent="projects/demo", context_id=id, context=context)
    return await client.operations.wait(await client.stubs.inference.CreateContext(request))


async def test_the_server_answers_and_its_counts_are_the_usage(client: AsyncClient, chat: ChatServer) -> None:
    answer = await generate(client, "who?", "where?", max_tokens=7, stop=["\n"])
    assert [one.text for one in answer.generations] == ["echo: who?", "echo: where?"]
    assert [one.token_count for one in answer.generations] == [3, 3]
    assert {one.finish_reason for one in answer.generations} == {inference_pb2.Generation.STOP}
    usage = answer.usage
    assert (usage.prompt_token_count, usage.cached_token_count, usage.generated_token_count) == (22, 8, 6)
    assert usage.flops == 0
    assert answer.model == MODEL
    sent = min(chat.requests, key=lambda request: len(request["messages"][0]["content"]))
    assert sent == {
        "model": "big",
        "messages": [{"role": "user", "content": "who?"}],
        "max_tokens": 7,
        "temperature": 0.0,
        "stop": ["\n"],
    }
    assert chat.keys == [None, None]


async def test_sampling_is_passed_on_with_a_seed_for_each_prompt(
    client: AsyncClient, chat: ChatServer
) -> None:
    await generate(client, "a", "b", "a", temperature=0.5, top_p=0.9, seed=7)
    assert {(request["temperature"], request["top_p"]) for request in chat.requests} == {(0.5, 0.9)}
    drawn = sorted((r["messages"][0]["content"], r["seed"]) for r in chat.requests)
    assert len({seed for _, seed in drawn}) == 3
    chat.requests.clear()
    await generate(client, "b", "a", "a", temperature=0.5, top_p=0.9, seed=7)
    assert sorted((r["messages"][0]["content"], r["seed"]) for r in chat.requests) == drawn


async def test_without_counts_they_are_estimated(client: AsyncClient, chat: ChatServer) -> None:
    chat.usage, chat.finish_reason = None, "length"
    answer = await generate(client, "12345")
    assert answer.usage.prompt_token_count == 2
    assert answer.usage.generated_token_count == 3  # `echo: 12345`
    assert answer.generations[0].finish_reason == inference_pb2.Generation.LENGTH


async def test_a_context_stands_in_front_of_the_question(client: AsyncClient, chat: ChatServer) -> None:
    context = await create(client, "all")
    assert (context.token_count, context.row_count) == (-(-len(ALL_DOCUMENTS) // 4), 3)
    assert context.cost == common_pb2.Cost()
    await generate(client, "who?", context=context.name)
    assert chat.requests[-1]["messages"][0]["content"] == f"{ALL_DOCUMENTS}\n\nwho?"
    found = await create(client, "found", retrieval=common_pb2.Retrieval(top_k=1))
    await generate(client, "what was near the bridge?", context=found.name)
    expected = "a dovun was seen near the old bridge.\n\nwhat was near the bridge?"
    assert chat.requests[-1]["messages"][0]["content"] == expected
    await generate(client, "who?", model="icl:documents@elsewhere")
    assert chat.requests[-1]["messages"][0]["content"] == f"{ALL_DOCUMENTS}\n\nwho?"


async def test_what_has_no_room_is_refused_before_it_is_sent(
    client: AsyncClient, chat: ChatServer, elsewhere: trainer_pb2.Model
) -> None:
    with pytest.raises(errors.Invalid, match=r"about 250 tokens") as refused:
        await generate(client, "x" * 1000)
    assert refused.value.reason == "PROMPT_TOO_LONG"
    await generate(client, "x" * 760, max_tokens=64)  # 190 of 200 tokens
    assert chat.requests[-1]["max_tokens"] == 10
    elsewhere.context_window = 20
    with pytest.raises(errors.OperationFailed) as failed:
        await create(client, "long")
    assert failed.value.reason == "CONTEXT_TOO_LONG"
    assert len(chat.requests) == 1


async def test_tokens_are_estimated_and_nothing_is_scored(client: AsyncClient, chat: ChatServer) -> None:
    count = inference_pb2.CountTokensRequest(model=MODEL, texts=["", "abcd", "abcde", "ä" * 4])
    assert list((await client.stubs.inference.CountTokens(count)).token_counts) == [0, 1, 2, 2]
    item = inference_pb2.ScoreItem(prompt="a", choices=["b", "c"])
    with pytest.raises(errors.WrongState) as refused:
        await client.stubs.inference.Score(inference_pb2.ScoreRequest(model=MODEL, items=[item]))
    assert refused.value.reason == "MODEL_GIVES_NO_LOGPROBS"
    assert not chat.requests


async def test_what_passes_is_tried_again(client: AsyncClient, chat: ChatServer) -> None:
    chat.troubles = [(429, {"Retry-After": "0.3"}, {}), (500, {}, {}), (503, {}, {})]
    started = asyncio.get_running_loop().time()
    assert (await generate(client, "who?")).generations[0].text == "echo: who?"
    assert asyncio.get_running_loop().time() - started > 0.3
    assert len(chat.requests) == 4
    chat.troubles = [(429, {"Retry-After": "9999"}, {})]
    with pytest.raises(errors.Exhausted) as busy:
        await generate(client, "who?")
    assert busy.value.reason == "ENDPOINT_BUSY"
    assert len(chat.requests) == 5, "a wait beyond the call's time is not begun"
    chat.troubles = [(502, {}, {})] * 100
    with pytest.raises(errors.Unavailable, match="502"):
        await generate(client, "who?")
    assert len(chat.requests) % 6 == 5, "six tries for each of the client's own"


async def test_what_was_answered_before_a_call_failed_is_not_paid_for_again(
    settings: InferenceSettings, chat: ChatServer, serve_door: Any, connect: Any
) -> None:
    one_try = settings.model_copy(update={"endpoint_tries": 1, "endpoint_concurrency": 1})
    async with serve_door(one_try) as target, connect(target) as client:
        chat.troubles = [(200, {}, CHOICE), (200, {}, CHOICE), (429, {}, {})]
        with pytest.raises(errors.Exhausted):
            await generate(client, "a", "b", "c", "d")
        answer = await generate(client, "a", "b", "c", "d")
        assert [one.text for one in answer.generations] == ["once", "once", "echo: c", "echo: d"]
        assert answer.usage.generated_token_count == 2 * 1 + 2 * 3
        asked = [request["messages"][0]["content"] for request in chat.requests]
        assert (asked.count("a"), asked.count("b"), asked.count("c")) == (1, 1, 2)
        assert (await generate(client, "a")).generations[0].text == "echo: a", "kept until it is asked again"


async def test_a_slow_server_costs_no_more_than_the_calls_time(
    settings: InferenceSettings, chat: ChatServer, serve_door: Any, connect: Any
) -> None:
    hasty = settings.model_copy(update={"endpoint_wait_s": 0.3, "endpoint_tries": 1})
    chat.wait_s = 5
    async with serve_door(hasty) as target, connect(target) as client:
        with pytest.raises(errors.Unavailable) as slow:
            await generate(client, "who?")
    assert slow.value.reason == "ENDPOINT_SLOW"


async def test_only_so_many_calls_are_at_one_server_at_once(client: AsyncClient, chat: ChatServer) -> None:
    chat.wait_s = 0.02
    await asyncio.gather(*(generate(client, *"abcdefghij") for _ in range(2)))
    assert len(chat.requests) == 20
    assert chat.most_at_once == 8


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (401, {"error": {"message": f"wrong key {SECRET}"}}, errors.WrongState, "ENDPOINT_KEY_REFUSED"),
        (404, {"error": {"message": "no such model"}}, errors.WrongState, "ENDPOINT_HAS_NO_MODEL"),
        (400, {"error": {"message": f"bad {SECRET}"}}, errors.Invalid, "ENDPOINT_REFUSED"),
        (302, [], errors.Invalid, "ENDPOINT_REFUSED"),
        (200, {"choices": []}, errors.WrongState, "NO_CHAT_COMPLETION"),
        (200, "text", errors.WrongState, "NO_CHAT_COMPLETION"),
    ],
)  # fmt: skip
async def test_what_stays_wrong_is_said_once_and_without_the_key(
    client: AsyncClient,
    chat: ChatServer,
    elsewhere: trainer_pb2.Model,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: Any,
    kind: type[Exception],
    reason: str,
) -> None:
    monkeypatch.setenv("LAB_KEY", SECRET)
    elsewhere.endpoint.api_key_ref = "env:LAB_KEY"
    chat.troubles = [(status, {"Location": "http://169.254.169.254/"} if status == 302 else {}, body)]
    with pytest.raises(kind) as refused:
        await generate(client, "who?")
    assert refused.value.reason == reason  # type: ignore[attr-defined]
    assert SECRET not in str(refused.value)
    assert len(chat.requests) == 1
    assert chat.keys == [f"Bearer {SECRET}"]


async def test_keys_go_only_where_the_operator_opened_them(
    client: AsyncClient, chat: ChatServer, elsewhere: trainer_pb2.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.endpoint.api_key_ref = "env:LAB_KEY"
    with pytest.raises(errors.WrongState, match="LAB_KEY") as missing:
        await generate(client, "who?")
    assert missing.value.reason == "ENDPOINT_KEY_MISSING"
    monkeypatch.setenv("INGRAIN_SERVICE_TOKEN", SECRET)
    monkeypatch.setenv("OTHER", SECRET)
    for name in ("INGRAIN_SERVICE_TOKEN", "OTHER"):
        elsewhere.endpoint.api_key_ref = f"env:{name}"
        with pytest.raises(errors.WrongState, match=name) as closed:
            await generate(client, "who?")
        assert closed.value.reason == "ENDPOINT_KEY_NOT_OPENED"
    assert not chat.requests


async def test_servers_with_a_newer_name_for_the_limit_are_understood(
    client: AsyncClient, chat: ChatServer
) -> None:
    chat.troubles = [(400, {}, {"error": {"message": "unsupported", "param": "max_tokens"}})]
    await generate(client, "who?", max_tokens=9)
    await generate(client, "where?", max_tokens=9)
    assert ["max_completion_tokens" in request for request in chat.requests] == [False, True, True]
    assert "max_tokens" not in chat.requests[2]


async def stream(client: AsyncClient) -> list[inference_pb2.StreamGenerateResponse]:
    request = inference_pb2.GenerateRequest(model=MODEL, prompts=["who are you?"])
    return [piece async for piece in client.stubs.inference.StreamGenerate(request)]


async def test_a_stream_gives_text_as_it_comes(client: AsyncClient, chat: ChatServer) -> None:
    pieces = await stream(client)
    assert [piece.text for piece in pieces] == ["echo: ", "who ", "are ", "you? ", ""]
    assert pieces[-1].usage.cached_token_count == 4
    assert pieces[-1].finish_reason == inference_pb2.Generation.STOP
    chat.broken_stream = True
    with pytest.raises(errors.Unavailable) as broken:
        await stream(client)
    assert broken.value.reason == "ENDPOINT_BROKE_OFF"


async def test_a_name_that_leads_to_a_reserved_address_is_refused_when_it_is_called(
    client: AsyncClient,
    chat: ChatServer,
    elsewhere: trainer_pb2.Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(self: Any, host: str, port: int = 0, family: Any = 0) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": "169.254.169.254", "port": port, "family": 2, "proto": 0, "flags": 0}
        ]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
    elsewhere.endpoint.base_url = "http://innocent.test/v1"
    with pytest.raises(errors.Invalid, match="link-local") as refused:
        await generate(client, "who?")
    assert refused.value.reason == "RESERVED_ADDRESS"
