"""Completions over a real socket by a real engine, against what the same engine says over gRPC."""

from typing import Any

import pytest

from ingrain.v1 import inference_pb2 as pb

PROMPT = "the bralo is bigger"
NATS = 1e-4


async def test_a_prompt_is_continued_as_over_grpc(platform: Any) -> None:
    answer = await platform.openai().completions.create(
        model="base", prompt=PROMPT, max_tokens=8, temperature=0
    )
    async with platform.grpc() as client:
        same = await client.generate("base", inputs=[PROMPT], max_tokens=8)
    assert answer.object == "text_completion"
    assert answer.model == "base"
    assert answer.system_fingerprint == "projects/default/models/base"
    assert [choice.text for choice in answer.choices] == [same.generations[0].text]
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None
    assert answer.usage.completion_tokens == 8
    assert answer.usage.prompt_tokens == same.usage.prompt_token_count
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_sixteen_tokens_where_nothing_is_said(platform: Any) -> None:
    answer = await platform.openai().completions.create(model="base", prompt=PROMPT, temperature=0)
    assert answer.usage.completion_tokens == 16


async def test_texts_and_tokens_in_lists(platform: Any, tokenizer: Any) -> None:
    """Four forms of the same two prompts."""
    client, prompts = platform.openai(), [PROMPT, "which tools"]
    ids = [tokenizer(prompt).input_ids for prompt in prompts]
    same = {"model": "base", "max_tokens": 4, "temperature": 0}
    texts = await client.completions.create(prompt=prompts, **same)
    tokens = await client.completions.create(prompt=ids, **same)
    one = await client.completions.create(prompt=ids[0], **same)
    assert [choice.index for choice in texts.choices] == [0, 1]
    assert [choice.text for choice in tokens.choices] == [choice.text for choice in texts.choices]
    assert one.choices[0].text == texts.choices[0].text
    assert texts.usage.prompt_tokens == sum(map(len, ids))


async def test_echo_with_logprobs_is_what_score_says(platform: Any, tokenizer: Any) -> None:
    """As tools for evaluation ask: only the last token is written, and a continuation's tokens are summed up."""
    choice = " than the cemid."
    async with platform.grpc() as grpc:
        scored = (await grpc.score("base", [(PROMPT, [choice])])).items[0].choices[0]
    prompt_tokens = len(tokenizer(PROMPT).input_ids)
    for prompt in (PROMPT + choice, tokenizer(PROMPT + choice).input_ids):
        answer = await platform.openai().completions.create(
            model="base", prompt=prompt, max_tokens=1, temperature=0, echo=True, logprobs=2
        )
        lists = answer.choices[0].logprobs
        assert answer.choices[0].text.startswith(PROMPT + choice)
        assert lists.token_logprobs[0] is None
        assert lists.top_logprobs[0] is None
        assert "".join(lists.tokens[:-1]) == PROMPT + choice
        assert len(lists.tokens) == len(tokenizer(PROMPT + choice).input_ids) + 1
        assert sum(lists.token_logprobs[prompt_tokens:-1]) == pytest.approx(scored.sum_logprob, abs=NATS)
        for text, logprob, top, offset in zip(
            lists.tokens[1:-1],
            lists.token_logprobs[1:-1],
            lists.top_logprobs[1:-1],
            lists.text_offset[1:-1],
            strict=True,
        ):
            assert top[text] == logprob <= max(top.values())
            assert len(top) in (2, 3)
            assert answer.choices[0].text[offset:].startswith(text)


async def test_nothing_but_the_prompts_logprobs(platform: Any) -> None:
    answer = await platform.openai().completions.create(
        model="base", prompt=PROMPT, max_tokens=0, echo=True, logprobs=0
    )
    (choice,) = answer.choices
    assert choice.text == PROMPT
    assert answer.usage.completion_tokens == 0
    assert len(choice.logprobs.tokens) == answer.usage.prompt_tokens
    for token, top in zip(choice.logprobs.tokens[1:], choice.logprobs.top_logprobs[1:], strict=True):
        assert list(top) == [token]


async def test_several_answers_to_each_prompt(platform: Any) -> None:
    """They draw apart, again the same for the same seed, and a prompt counts once."""
    wanted = {"model": "base", "prompt": [PROMPT, "which tools"], "n": 3, "max_tokens": 6, "temperature": 1.5}
    first = await platform.openai().completions.create(seed=7, **wanted)
    again = await platform.openai().completions.create(seed=7, **wanted)
    other = await platform.openai().completions.create(**wanted)
    texts = [choice.text for choice in first.choices]
    assert [choice.index for choice in first.choices] == list(range(6))
    assert len(set(texts)) == 6
    assert [choice.text for choice in again.choices] == texts
    assert [choice.text for choice in other.choices] != texts
    single = await platform.openai().completions.create(**(wanted | {"n": 1, "temperature": 0}))
    assert first.usage.prompt_tokens == single.usage.prompt_tokens
    assert first.usage.completion_tokens == sum(
        len(one.logprobs.tokens)
        for one in (await platform.openai().completions.create(seed=7, logprobs=0, **wanted)).choices
    )


async def test_stop_strings_end_the_text(platform: Any) -> None:
    client = platform.openai()
    whole = await client.completions.create(model="base", prompt=PROMPT, max_tokens=20, temperature=0)
    text = whole.choices[0].text
    stop = text[3:5]
    for given in (stop, [stop, "nowhere in it"]):
        cut = await client.completions.create(
            model="base", prompt=PROMPT, max_tokens=20, temperature=0, stop=given
        )
        assert cut.choices[0].text == text[: text.index(stop)]
        assert cut.choices[0].finish_reason == "stop"


async def test_a_stream_says_the_same(platform: Any) -> None:
    client = platform.openai()
    wanted = {"model": "base", "prompt": [PROMPT, "which tools"], "max_tokens": 8, "temperature": 0}
    whole = await client.completions.create(logprobs=1, **wanted)
    stream = await client.completions.create(
        stream=True, stream_options={"include_usage": True}, logprobs=1, **wanted
    )
    texts, tokens, ends, usage, ids = ["", ""], [[], []], {}, None, set()
    async for chunk in stream:
        ids.add(chunk.id)
        assert chunk.object == "text_completion"
        if chunk.usage:
            usage = chunk.usage
            assert chunk.choices == []
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            tokens[choice.index] += choice.logprobs.tokens if choice.logprobs else []
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole.choices]
    assert ends == {0: "length", 1: "length"}
    assert usage == whole.usage.model_copy(update={"prompt_tokens_details": usage.prompt_tokens_details})
    assert len(ids) == 1


async def test_a_stream_of_equal_prompts_draws_apart_and_again(platform: Any) -> None:
    async def texts() -> list[str]:
        found = [""] * 3
        stream = await platform.openai().completions.create(
            model="base", prompt=PROMPT, n=3, max_tokens=6, temperature=1.5, seed=5, stream=True, echo=True
        )
        async for chunk in stream:
            found[chunk.choices[0].index] += chunk.choices[0].text
        return found

    first = await texts()
    assert len(set(first)) == 3
    assert all(text.startswith(PROMPT) for text in first)
    assert await texts() == first


async def test_documents_in_context_are_read_once(platform: Any) -> None:
    client = platform.openai()
    answers = [
        await client.completions.create(
            model="icl:documents@base", prompt=f"\n{word} is", max_tokens=4, temperature=0
        )
        for word in ("a bralo", "a dovun")
    ]
    bare = await client.completions.create(model="base", prompt="\na bralo is", max_tokens=4, temperature=0)
    assert answers[0].usage.prompt_tokens > bare.usage.prompt_tokens + 20
    assert answers[1].usage.prompt_tokens_details.cached_tokens > 20
    assert answers[0].model == "icl:documents@base"
    assert answers[0].system_fingerprint == "projects/default/models/base"
    async with platform.grpc() as grpc:
        same = await grpc.generate("icl:documents@base", inputs=[pb.Input(text="\na bralo is")], max_tokens=4)
    assert same.generations[0].text == answers[0].choices[0].text
