"""Another server writes: asked over HTTP as OpenAI-style servers are, with a key that only inference knows."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from ingrain import errors
from ingrain.v1 import common_pb2, trainer_pb2

MODEL = "projects/demo/models/elsewhere"
SECRET = "sk-of-the-test-0123456789"
SPEC = {"group_key": "world", "distinct_key": "fact", "samples_per_document": 1, "max_tokens": 30, "seed": 5}
LOCAL = {**SPEC, "strategies": ["rephrase", "reverse"]}
OWN = {
    "strategy": "facts",
    "text": "{document}\nAll that follows, as JSON:",
    "sees": "ONE_DOCUMENT",
    "structured": True,
}
Answer = Callable[[dict[str, Any]], web.Response | str]


class ChatServer:
    """`answer`: the text, or a whole response, for a request's body."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.answer: Answer = lambda asked: f"It was said: {Counter(prompt_of(asked)).total()} signs."
        self.at_once = self.most_at_once = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        self.keys.add(request.headers.get("Authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        answered = self.answer(asked)
        if isinstance(answered, web.Response):
            return answered
        message = {"role": "assistant", "content": answered}
        usage = {"prompt_tokens": 20, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    @property
    def prompts(self) -> list[str]:
        return [prompt_of(asked) for asked in self.requests]


def prompt_of(asked: dict[str, Any]) -> str:
    return str(asked["messages"][0]["content"])


def refusing(status: int, said: str, param: str = "") -> web.Response:
    return web.json_response({"error": {"message": said, "param": param}}, status=status)


@pytest.fixture
async def chat(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatServer]:
    """Before inference starts: the operator opens the key for this server."""
    server = ChatServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    monkeypatch.setenv("LAB_KEY", SECRET)
    monkeypatch.setenv("INGRAIN_ENDPOINT_KEYS", f"LAB_KEY={server.url[7:-3]}")
    monkeypatch.setenv("INGRAIN_ENDPOINT_BACKOFF_S", "0.01")
    yield server
    await runner.cleanup()


@pytest.fixture
def elsewhere(chat: ChatServer, world: Any) -> Any:
    """The world, with a model that another server answers for."""
    world.behind.models[MODEL] = trainer_pb2.Model(
        name=MODEL,
        state=common_pb2.ACTIVE,
        sha256="e" * 64,
        context_window=2000,
        chat_template=True,
        endpoint=trainer_pb2.Endpoint(
            base_url=chat.url, model_id="large-2", api_key_ref="env:LAB_KEY", context_window=2000
        ),
    )
    return world


async def derived(world: Any, id: str, **spec: Any) -> tuple[Any, list[dict[str, Any]]]:
    operation = await world.user.datasets.augment("documents", "elsewhere", id=id, **spec)
    made = await operation.result(timeout_s=60)
    return made, [row async for row in world.user.datasets.rows(id)]


async def failed(work: Awaitable[Any]) -> errors.OperationFailed:
    with pytest.raises(errors.OperationFailed) as caught:
        await work
    return caught.value


async def test_it_writes_like_any_model_and_its_counts_are_the_cost(elsewhere: Any, chat: ChatServer) -> None:
    made, rows = await derived(elsewhere, "far", **{**SPEC, "strategies": ["rephrase", "link"]})
    assert len(chat.requests) == 16  # eight facts, alone and among their world's
    assert chat.most_at_once > 1
    documents = [row async for row in elsewhere.user.datasets.rows("documents")]
    seen = [sum(row["text"] in prompt for row in documents) for prompt in chat.prompts]
    assert sum(count >= 4 for count in seen) == 8  # the documents of a world stand before the prompt
    cost = made.provenance.cost
    tokens = (cost.prompt_token_count, cost.cached_token_count, cost.generated_token_count)
    assert tokens == (16 * 15, 16 * 5, 16 * 4)
    assert cost.flops == 0
    assert {row["provenance"]["model"] for row in rows} == {MODEL}
    assert made.provenance.model_sha256 == "e" * 64
    await derived(elsewhere, "again", **{**SPEC, "strategies": ["rephrase", "link"]})
    assert len(chat.requests) == 16


async def test_the_key_is_sent_and_stands_nowhere(
    elsewhere: Any, chat: ChatServer, capfd: pytest.CaptureFixture[str]
) -> None:
    made, rows = await derived(elsewhere, "far", **LOCAL)
    assert chat.keys == {f"Bearer {SECRET}"}
    chat.answer = lambda asked: refusing(401, f"the key {SECRET} is wrong")
    refused = await failed(derived(elsewhere, "refused", **{**LOCAL, "seed": 6}))
    assert refused.reason == "ENDPOINT_KEY_REFUSED"
    said = capfd.readouterr()
    told = [str(made), json.dumps(rows), str(refused), str(refused.metadata), said.out, said.err]
    assert not any(SECRET in text for text in told)
    folder = elsewhere.settings.storage.removeprefix("file://")
    found = await asyncio.create_subprocess_exec(
        "grep", "-rl", SECRET, folder, stdout=asyncio.subprocess.PIPE
    )
    assert (await found.communicate())[0] == b""


async def test_structured_output_is_asked_for_repaired_and_asked_again(
    elsewhere: Any, chat: ChatServer
) -> None:
    def answer(asked: dict[str, Any]) -> str:
        tries = chat.prompts.count(prompt_of(asked))
        if tries == 1:
            return "I am sorry."
        return '```json\n{"statements": ["Fens are old.", "Tors are young."'  # broken off

    chat.answer = answer
    made, rows = await derived(
        elsewhere,
        "own",
        **{**SPEC, "strategies": ["facts"], "prompts": [OWN]},
        gates={"keep_duplicates": True},
    )
    assert {asked["response_format"]["type"] for asked in chat.requests} == {"json_schema"}
    assert len(chat.requests) == 16
    assert set(Counter(chat.prompts).values()) == {2}
    assert len({asked["seed"] for asked in chat.requests}) == 16
    assert Counter(row["text"] for row in rows) == {"Fens are old.": 8, "Tors are young.": 8}
    assert made.provenance.prompt_count == 16


async def test_what_cannot_be_read_is_asked_for_three_times_and_no_more(
    elsewhere: Any, chat: ChatServer
) -> None:
    chat.answer = lambda asked: "I am sorry."
    spec = {**SPEC, "strategies": ["facts"], "prompts": [OWN]}
    assert (await failed(derived(elsewhere, "own", **spec))).reason == "NOTHING_DERIVED"
    assert set(Counter(chat.prompts).values()) == {3}


async def test_a_server_without_schemas_is_asked_without(elsewhere: Any, chat: ChatServer) -> None:
    def answer(asked: dict[str, Any]) -> web.Response | str:
        if "response_format" in asked:
            return refusing(400, "response_format is not supported", "response_format")
        return '{"statements": ["Fens are old."]}'

    chat.answer = answer
    _, rows = await derived(elsewhere, "own", **{**SPEC, "strategies": ["facts"], "prompts": [OWN]})
    assert [row["text"] for row in rows] == ["Fens are old."]


async def test_a_busy_server_is_waited_for(elsewhere: Any, chat: ChatServer) -> None:
    def answer(asked: dict[str, Any]) -> web.Response | str:
        first = chat.prompts.count(prompt_of(asked)) == 1
        return refusing(429, "later") if first else "Fens are old."

    chat.answer = answer
    await derived(elsewhere, "far", **LOCAL)
    assert set(Counter(chat.prompts).values()) == {2}


async def test_the_prompt_that_it_refuses_is_named_and_the_others_are_not_paid_for_again(
    elsewhere: Any, chat: ChatServer, documents: list[dict[str, Any]]
) -> None:
    chosen = documents[0]
    wanted = chat.answer

    def answer(asked: dict[str, Any]) -> web.Response | str:
        return refusing(400, "not that one") if chosen["text"] in prompt_of(asked) else wanted(asked)

    chat.answer = answer
    refused = await failed(derived(elsewhere, "far", **{**LOCAL, "strategies": ["rephrase"]}))
    assert refused.reason == "ENDPOINT_REFUSED"
    assert f"rephrase of document {chosen['id']!r}" in refused.message
    assert "not that one" in refused.message
    chat.answer = wanted
    await derived(elsewhere, "again", **{**LOCAL, "strategies": ["rephrase"]})
    for prompt, count in Counter(chat.prompts).items():
        assert count == 1 or chosen["text"] in prompt


async def test_a_document_without_room_in_its_window_is_named(elsewhere: Any, chat: ChatServer) -> None:
    rows = [{"id": "short", "text": "Ilma are old."}, {"id": "long", "text": "older " * 2000}]
    await elsewhere.user.datasets.upload(rows, id="long")
    operation = await elsewhere.user.datasets.augment("long", "elsewhere", id="far", strategies=["reverse"])
    refused = await failed(operation.result(timeout_s=60))
    assert refused.reason == "PROMPT_TOO_LONG"
    assert "reverse of document 'long'" in refused.message


async def test_a_preview_and_an_estimate_ask_it_little_and_nothing(elsewhere: Any, chat: ChatServer) -> None:
    operation = await elsewhere.user.datasets.augment(
        "documents", "elsewhere", validate_only=True, **{**SPEC, "strategies": ["rephrase", "link"]}
    )
    estimate = operation.metadata.estimate
    assert not chat.requests
    assert estimate.cost.cached_token_count == 0
    # Sixteen prompts, and the documents of a world before eight of them.
    assert 16 * 10 < estimate.cost.prompt_token_count < 16 * 100
    assert any("sent with each of their prompts" in note for note in estimate.notes)
    shown = await elsewhere.user.datasets.preview_augmentation(
        "documents", "elsewhere", document_count=2, **{**SPEC, "strategies": ["rephrase", "link"]}
    )
    assert len(chat.requests) == 4
    assert shown.rows
