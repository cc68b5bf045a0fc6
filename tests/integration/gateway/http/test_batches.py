"""Files and batches by OpenAI's client, over real datasets and the real engine."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def line(number: int, url: str = COMPLETIONS, **body: Any) -> dict[str, Any]:
    asked = {"model": "base", "prompt": f"the bralo is {number}", "max_tokens": 4, "temperature": 0}
    if url == CHAT:
        asked = asked | {"model": "chat", "messages": [{"role": "user", "content": f"which {number}?"}]}
        del asked["prompt"]
    return {"custom_id": f"q-{number}", "method": "POST", "url": url, "body": asked | body}


def file_of(lines: list[Any]) -> bytes:
    return b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in lines)


@pytest.fixture
async def bulk(start: Any, datasets: str) -> AsyncIterator[Any]:
    async with start(require_keys=True, backend_augmenter=datasets) as platform:
        yield platform


async def ended(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    for _ in range(600):
        batch = await client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "cancelled"):
            return batch
        await asyncio.sleep(0.05)
    return pytest.fail("the batch does not end")


async def lines_of(client: openai.AsyncOpenAI, file_id: str) -> list[dict[str, Any]]:
    text = (await client.files.content(file_id)).text
    return [json.loads(one) for one in text.splitlines()]


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
async def test_a_batch_says_what_single_calls_say(bulk: Any, url: str) -> None:
    client = bulk.openai(await bulk.new_key())
    asked = [line(number, url) for number in range(9)]
    asked[3]["body"] |= {"logprobs": 2} if url == COMPLETIONS else {"logprobs": True, "top_logprobs": 2}
    asked[5]["body"] |= {"prompt" if url == COMPLETIONS else "user": "word " * 2000}
    if url == CHAT:
        asked[5]["body"]["messages"][0]["content"] = "word " * 2000  # no room in the window
    sent = await client.files.create(file=("night.jsonl", file_of(asked)), purpose="batch")
    assert (sent.object, sent.purpose, sent.filename) == ("file", "batch", "night.jsonl")
    batch = await client.batches.create(
        input_file_id=sent.id, endpoint=url, completion_window="24h", metadata={"night": "1"}
    )
    assert batch.object == "batch"
    done = await ended(client, batch.id)
    assert (done.status, done.metadata) == ("completed", {"night": "1"})
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (9, 8, 1)
    answers = await lines_of(client, done.output_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"q-{n}" for n in range(9) if n != 5]
    single = client.completions if url == COMPLETIONS else client.chat.completions
    for answer in (answers[0], answers[3]):
        body = answer["response"]["body"]
        number = int(answer["custom_id"].removeprefix("q-"))
        same = (await single.create(**asked[number]["body"])).model_dump()
        assert answer["response"]["status_code"] == 200
        assert body["object"] == same["object"]
        assert body["usage"]["completion_tokens"] == same["usage"]["completion_tokens"]
        ours, theirs = body["choices"][0], same["choices"][0]
        assert ours.get("text") == theirs.get("text")
        assert ours.get("message", {}).get("content") == (theirs.get("message") or {}).get("content")
        assert ours["finish_reason"] == theirs["finish_reason"]
        assert (ours["logprobs"] is None) == (theirs["logprobs"] is None)
    (error,) = await lines_of(client, done.error_file_id)
    assert (error["custom_id"], error["response"]) == ("q-5", None)
    assert error["error"]["code"] == "PROMPT_TOO_LONG"
    again = await lines_of(client, sent.id)
    assert [one["custom_id"] for one in again] == [one["custom_id"] for one in asked]
    assert again[0]["body"] == asked[0]["body"]


async def test_batches_are_listed_newest_first(bulk: Any) -> None:
    client = bulk.openai()
    sent = await client.files.create(file=("f.jsonl", file_of([line(1)])), purpose="batch")
    made = [
        (await client.batches.create(input_file_id=sent.id, endpoint=COMPLETIONS, completion_window="24h")).id
        for _ in range(3)
    ]
    page = await client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:0:-1]
    assert page.has_more
    assert [batch.id async for batch in client.batches.list(limit=2)] == made[::-1]
    for batch_id in made:
        assert (await ended(client, batch_id)).status == "completed"


async def test_a_cancelled_batch_keeps_what_is_answered(bulk: Any) -> None:
    client = bulk.openai()
    asked = [line(number, max_tokens=200, temperature=1.9) for number in range(700)]
    sent = await client.files.create(file=("f.jsonl", file_of(asked)), purpose="batch")
    batch = await client.batches.create(input_file_id=sent.id, endpoint=COMPLETIONS, completion_window="24h")
    assert batch.status == "in_progress"
    cancelled = await client.batches.cancel(batch.id)
    assert cancelled.status in ("cancelling", "cancelled")
    done = await ended(client, batch.id)
    assert done.status == "cancelled"
    assert done.request_counts.completed < 700


async def test_a_model_that_goes_ends_the_batch_in_an_error(bulk: Any) -> None:
    client = bulk.openai()
    sent = await client.files.create(
        file=("f.jsonl", file_of([line(1, CHAT, model="gone")])), purpose="batch"
    )
    with pytest.raises(openai.NotFoundError, match="gone"):
        await client.batches.create(input_file_id=sent.id, endpoint=CHAT, completion_window="24h")


async def test_files_are_streamed_and_may_be_big(bulk: Any) -> None:
    """Bigger than any other body may be; a lot of small reads and writes on the way."""
    client = bulk.openai()
    asked = [line(number, prompt=f"{number} " + "word " * 400) for number in range(5000)]
    raw = file_of(asked)
    assert len(raw) > 9 << 20
    sent = await client.files.create(file=("big.jsonl", raw), purpose="batch")
    back = await lines_of(client, sent.id)
    assert [one["body"]["prompt"] for one in back] == [one["body"]["prompt"] for one in asked]
    assert (await client.files.retrieve(sent.id)).bytes == sent.bytes
    assert (await client.files.delete(sent.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(sent.id)


@pytest.mark.parametrize(
    ("lines", "param", "said"),
    [
        ([], "file", "no requests"),
        ([line(1), b"{\n"], "lines[1]", "line 2"),
        ([line(1), b"\n", line(2, n=2)], "lines[2].body.n", "line 3"),
        ([line(1), line(2, model="chat")], "lines[1].model", "a file has one"),
        ([line(1), line(2, CHAT, model="base")], "lines[1].endpoint", "a file has one"),
        ([line(1, stream=True)], "lines[0].body.stream", "not for batches"),
        ([line(1, echo=True)], "lines[0].body.echo", "not for batches"),
        ([line(1, prompt=[5, 6])], "lines[0].body.prompt", "one text"),
        ([line(1, prompt=["a", "b"])], "lines[0].body.prompt", "one text"),
        ([line(1, top_k=3)], "lines[0].body.top_k", "line 1"),
        ([line(1, max_tokens="4")], "lines[0].body.max_tokens", "line 1"),
        ([line(1), line(1)], "lines[1].id", "row 2"),
        ([line(1) | {"url": "/v1/embeddings"}], "lines[0].url", "line 1"),
        ([line(1) | {"method": "GET"}], "lines[0].method", "line 1"),
        ([line(1, model="chat")], "lines[0].url", "chat template"),
        ([line(1, model="bot@prod")], "lines[0].url", "chat template"),
    ],
)
async def test_a_file_that_is_wrong_is_refused_by_its_line(
    bulk: Any, lines: list[Any], param: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        await bulk.openai().files.create(file=("f.jsonl", file_of(lines)), purpose="batch")
    assert caught.value.param == param
    # Nothing of a caller's file stands in a log.
    assert not [record for record in caplog.records if record.name.startswith("grpc")]


async def test_what_else_is_refused(bulk: Any) -> None:
    client = bulk.openai()
    good = ("f.jsonl", file_of([line(1)]))
    with pytest.raises(openai.BadRequestError, match="batch"):
        await client.files.create(file=good, purpose="fine-tune")
    sent = await client.files.create(file=good, purpose="batch")
    with pytest.raises(openai.BadRequestError, match="are for"):
        await client.batches.create(input_file_id=sent.id, endpoint=CHAT, completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        await client.batches.create(input_file_id="none", endpoint=CHAT, completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        await client.batches.retrieve("none")
    async with bulk.grpc() as grpc:
        await grpc.datasets.upload([{"id": "1", "prompt": "a"}], id="elsewhere", kind="prompts")
    with pytest.raises(openai.NotFoundError, match="no file"):
        await client.files.content("elsewhere")
    reader = bulk.openai(await bulk.new_key(read_only=True))
    assert (await reader.files.retrieve(sent.id)).id == sent.id
    with pytest.raises(openai.PermissionDeniedError):
        await reader.files.create(file=good, purpose="batch")
    status, _, answer = await bulk.post("/v1/files", {"file": "x"})
    assert (status, answer["error"]["param"]) == (400, "file")
