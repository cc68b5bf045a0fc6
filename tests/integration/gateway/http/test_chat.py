"""Conversations by OpenAI's own client, asynchronous and not."""

import asyncio
import json
import math
from typing import Any

import jsonschema
import openai
import pytest

MESSAGES = [
    {"role": "system", "content": "you know the bralo."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "which tools "}, {"type": "text", "text": "are there?"}],
    },
]
TURNS = [
    {"role": "system", "content": MESSAGES[0]["content"]},
    {"role": "user", "content": "which tools are there?"},
]
SCHEMA = {
    "type": "object",
    "properties": {
        "tool": {"enum": ["saw", "axe"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["tool", "count"],
    "additionalProperties": False,
}


async def test_an_answer_as_over_grpc(platform: Any) -> None:
    answer = await platform.openai().chat.completions.create(
        model="chat", messages=MESSAGES, max_completion_tokens=10, temperature=0
    )
    async with platform.grpc() as client:
        same = await client.generate("chat", messages=TURNS, max_tokens=10)
    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert choice.message.role == "assistant"
    assert choice.message.content == same.generations[0].text
    assert choice.finish_reason == "length"
    assert answer.usage.prompt_tokens == same.usage.prompt_token_count
    assert answer.usage.completion_tokens == 10
    assert answer.system_fingerprint == "projects/default/models/chat"


async def test_an_answer_can_be_sent_again_as_a_turn(platform: Any) -> None:
    """With the fields that OpenAI's client writes of it."""
    client = platform.openai()
    first = await client.chat.completions.create(model="chat", messages=MESSAGES, max_tokens=4)
    turns = [*MESSAGES, first.choices[0].message.model_dump(), {"role": "user", "content": "and?"}]
    longer = await client.chat.completions.create(model="chat", messages=turns, max_tokens=4)
    assert longer.usage.prompt_tokens > first.usage.prompt_tokens


async def test_logprobs_of_each_token(platform: Any) -> None:
    answer = await platform.openai().chat.completions.create(
        model="chat", messages=MESSAGES, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    )
    (choice,) = answer.choices
    assert len(choice.logprobs.content) == 6
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob  # greedy
        assert sum(math.exp(one.logprob) for one in token.top_logprobs) <= 1 + 1e-6
    raw = bytes(byte for token in choice.logprobs.content for byte in token.bytes)
    assert raw.decode(errors="replace") == choice.message.content


async def test_output_keeps_to_a_schema(platform: Any) -> None:
    client = platform.openai()
    wanted = {"type": "json_schema", "json_schema": {"name": "tool", "schema": SCHEMA, "strict": True}}
    for seed in range(3):
        answer = await client.chat.completions.create(
            model="chat", messages=MESSAGES, response_format=wanted, max_tokens=60, seed=seed
        )
        jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)
        assert answer.choices[0].finish_reason == "stop"
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="chat", messages=MESSAGES, response_format=bad)
    assert caught.value.param == "response_format"


async def test_a_stream_says_the_same(platform: Any) -> None:
    client = platform.openai()
    wanted = {"model": "chat", "messages": MESSAGES, "max_tokens": 8, "temperature": 0, "logprobs": True}
    whole = await client.chat.completions.create(**wanted)
    stream = await client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **wanted
    )
    chunks = [chunk async for chunk in stream]
    deltas = [choice for chunk in chunks for choice in chunk.choices]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert deltas[0].delta.role == "assistant"
    assert "".join(one.delta.content or "" for one in deltas) == whole.choices[0].message.content
    assert [one.finish_reason for one in deltas if one.finish_reason] == ["length"]
    assert sum(len(one.logprobs.content) for one in deltas if one.logprobs) == 8
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


async def test_streams_of_several_choices_are_told_apart(platform: Any) -> None:
    stream = await platform.openai().chat.completions.create(
        model="chat", messages=MESSAGES, n=3, max_tokens=6, temperature=1.5, seed=1, stream=True
    )
    texts: dict[int, str] = {}
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert sorted(texts) == [0, 1, 2]
    assert len(set(texts.values())) == 3


async def test_without_asyncio(platform: Any) -> None:
    def plain_code() -> tuple[str, str, list[str]]:
        with openai.OpenAI(base_url=platform.url, api_key="operator-token", max_retries=0) as client:
            wanted: dict[str, Any] = {
                "model": "chat",
                "messages": MESSAGES,
                "max_tokens": 5,
                "temperature": 0,
            }
            whole = client.chat.completions.create(**wanted)
            pieces = [
                c.choices[0].delta.content or ""
                for c in client.chat.completions.create(stream=True, **wanted)
            ]
            names = [model.id for model in client.models.list()]
            return whole.choices[0].message.content or "", "".join(pieces), names

    whole, streamed, names = await asyncio.to_thread(plain_code)
    assert whole == streamed
    assert "chat" in names


async def test_a_prompt_of_documents_and_a_question(platform: Any) -> None:
    answer = await platform.openai().chat.completions.create(
        model="rag:documents@chat",
        messages=[{"role": "user", "content": "a dovun near the bridge?"}],
        max_tokens=4,
    )
    bare = await platform.openai().chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "a dovun near the bridge?"}], max_tokens=4
    )
    assert answer.usage.prompt_tokens > bare.usage.prompt_tokens + 5


async def test_who_hangs_up_stops_the_engine(platform: Any) -> None:
    """A stream, and an answer that is waited for, of hundreds of tokens that nobody wants any more."""
    client = platform.openai()
    wanted = {"model": "chat", "messages": MESSAGES, "max_tokens": 400, "temperature": 1.9, "seed": 3}
    stream = await client.chat.completions.create(stream=True, n=4, **wanted)
    async for _ in stream:
        break
    await stream.close()
    assert await platform.idle()
    waiting = asyncio.create_task(client.chat.completions.create(n=4, **wanted))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    waiting.cancel()
    assert await platform.idle()
