"""What is refused, in OpenAI's form, and the exceptions that its client makes of it."""

import asyncio
from typing import Any

import openai
import pytest

ASK = {"model": "base", "prompt": "the bralo", "max_tokens": 2}
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "which?"}], "max_tokens": 2}
FORM = {"message", "type", "param", "code"}


async def test_keys(platform: Any) -> None:
    for key in ("", "nonsense", "ingrain_default.key-1." + "0" * 64):
        status, headers, body = await platform.post("/v1/completions", ASK, key)
        assert status == 401
        assert headers["WWW-Authenticate"] == "Bearer"
        assert set(body["error"]) == FORM
        assert body["error"]["code"] == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        await platform.openai("nonsense").models.list()


async def test_keys_that_may_only_read(platform: Any) -> None:
    client = platform.openai(await platform.new_key(read_only=True))
    assert [model.id for model in (await client.models.list()).data] == ["base", "chat"]
    with pytest.raises(openai.PermissionDeniedError, match="may only read"):
        await client.completions.create(**ASK)


async def test_a_model_that_is_not_there(platform: Any) -> None:
    client = platform.openai()
    for name in ("nobody", "projects/none/models/base", "icl:nothing@base", "icl:documents@nobody", "x@prod"):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.completions.create(**(ASK | {"model": name}))
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
    with pytest.raises(openai.NotFoundError):  # before anything is streamed
        await client.chat.completions.create(**(CHAT | {"model": "nobody"}), stream=True)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(**(ASK | {"model": "made"}))
    assert refused.value.code == "model_not_active"
    with pytest.raises(openai.BadRequestError, match="is no model"):
        await client.completions.create(**(ASK | {"model": "odd:name"}))


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("completions", {"prompt": ""}, "prompt"),
        ("completions", {"prompt": []}, "prompt"),
        ("completions", {"prompt": [1, "two"]}, "prompt"),
        ("completions", {"prompt": [[1], []]}, "prompt"),
        ("completions", {"prompt": [99_999_999]}, "prompt"),
        ("completions", {"prompt": None}, "prompt"),
        ("completions", {"prompt": "a " * 1000}, "prompt"),
        ("completions", {"max_tokens": 0}, "max_tokens"),
        ("completions", {"max_tokens": -1}, "max_tokens"),
        ("completions", {"max_tokens": "4"}, "max_tokens"),
        ("completions", {"temperature": 3}, "temperature"),
        ("completions", {"temperature": True}, "temperature"),
        ("completions", {"n": 0}, "n"),
        ("completions", {"n": 128, "prompt": ["a"] * 9}, "n"),
        ("completions", {"prompt": ["a"] * 65, "stream": True}, "prompt"),
        ("completions", {"logprobs": 65}, "logprobs"),
        ("completions", {"stop": ["a"] * 9}, "stop"),
        ("completions", {"best_of": 3}, "best_of"),
        ("completions", {"suffix": "end"}, "suffix"),
        ("completions", {"logit_bias": {"50256": -100}}, "logit_bias"),
        ("completions", {"frequency_penalty": 0.5}, "frequency_penalty"),
        ("completions", {"top_k": 4}, "top_k"),
        ("completions", {"echo": True, "stream": True, "logprobs": 1}, "echo"),
        ("completions", {"echo": True, "logprobs": 1, "model": "icl:documents@base"}, "echo"),
        ("completions", {"prompt": [5, 6], "model": "icl:documents@base"}, "prompt"),
        ("completions", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("completions", {"model": 7}, "model"),
        ("completions", {"context": "nonsense"}, "context"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "4"}]}, "messages[0].role"),
        ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("chat/completions", {"messages": [{"role": "user", "content": ""}]}, "messages"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "a", "name": "b"}]},
            "messages[0].name",
        ),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
            "messages[0].content[0]",
        ),
        ("chat/completions", {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ("chat/completions", {"modalities": ["text", "audio"]}, "modalities"),
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"response_format": {"type": "xml"}}, "response_format.type"),
        ("chat/completions", {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ("chat/completions", {"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_what_is_wrong_is_named(platform: Any, path: str, more: dict[str, Any], param: str) -> None:
    body = (ASK if path == "completions" else CHAT) | more
    status, headers, answer = await platform.post(f"/v1/{path}", body, x_request_id="mine-1")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), answer
    assert answer["error"]["param"] == param, answer
    assert set(answer["error"]) == FORM
    assert headers["X-Request-Id"] == "mine-1"


async def test_too_long_a_prompt_has_openais_code(platform: Any) -> None:
    _, _, answer = await platform.post("/v1/completions", ASK | {"prompt": "a b c d " * 500})
    assert answer["error"]["code"] == "context_length_exceeded"


async def test_what_changes_nothing_is_taken(platform: Any) -> None:
    harmless = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "tools": [],
        "tool_choice": "none",
        "seed": -3,
        "top_p": 0,
        "stop": None,
        "prompt_cache_key": "k",
    }
    status, _, answer = await platform.post("/v1/chat/completions", CHAT | harmless)
    assert status == 200, answer


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"text"', b'{"model": "base", "prompt": "\\ud800"}', b"\xff", b"[" * 100_000]
)
async def test_bodies_that_are_no_json(platform: Any, raw: bytes) -> None:
    status, _, answer = await platform.post("/v1/completions", raw)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), answer


async def test_bodies_that_are_too_big(platform: Any) -> None:
    """For the door at once; for what is behind it when it is read."""
    for size, code in ((9 << 20, "message_too_large"), (5 << 20, "message_too_large")):
        status, _, answer = await platform.post("/v1/completions", ASK | {"prompt": "a" * size})
        assert (status, answer["error"]["code"]) == (413, code)
    status, _, answer = await platform.post("/v1/completions", ASK | {"prompt": "a" * (2 << 20)})
    assert (status, answer["error"]["param"]) == (400, "prompt")


async def test_addresses_that_are_not_there(platform: Any) -> None:
    status, _, answer = await platform.post("/v1/embeddings", {})
    assert (status, answer["error"]["code"]) == (404, "unknown_url")
    status, _, answer = await platform.post("/v1/models", {})
    assert (status, answer["error"]["code"]) == (405, "method_not_allowed")


async def test_too_many_at_once_are_told_when_to_come_again(start: Any) -> None:
    async with start(project_concurrency=1, queue_length=0) as platform:
        client = platform.openai()
        stream = await client.completions.create(
            model="base", prompt="the bralo", max_tokens=400, temperature=1.9, stream=True
        )
        status, headers, answer = await platform.post("/v1/completions", ASK)
        assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(headers["Retry-After"]) >= 1
        with pytest.raises(openai.RateLimitError):
            await client.completions.create(**ASK)
        await stream.close()
        for _ in range(100):
            if (await platform.post("/v1/completions", ASK))[0] == 200:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the place was not given back")


async def test_a_service_that_is_away(start: Any) -> None:
    async with start(backend_inference="127.0.0.1:9") as platform:
        for stream in (False, True):
            status, headers, answer = await platform.post("/v1/completions", ASK | {"stream": stream})
            assert (status, answer["error"]["type"]) == (503, "server_error")
            assert int(headers["Retry-After"]) >= 1
            assert "inference cannot be reached" in answer["error"]["message"]
        with pytest.raises(openai.InternalServerError):
            await platform.openai().completions.create(**ASK)


async def test_time_that_is_up(start: Any) -> None:
    async with start(http_timeout_s=0.4) as platform:
        await platform.post("/v1/completions", ASK)  # loads the model
        long = ASK | {"max_tokens": 450, "temperature": 1.9, "n": 16}
        status, _, answer = await platform.post("/v1/completions", long)
        assert (status, answer["error"]["code"]) == (504, None)
        stream = await platform.openai().completions.create(**long, stream=True)
        with pytest.raises(openai.APIError) as caught:  # in the middle
            async for _ in stream:
                pass
        assert caught.value.type == "server_error"
        assert await platform.idle()
