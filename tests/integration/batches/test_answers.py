"""Every row has one answer, in its place, whatever is wrong with its neighbours."""

import asyncio
import heapq
import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingrain import errors
from ingrain.v1 import batches_pb2, common_pb2, datasets_pb2, inference_pb2
from services.inference.batches import sweeping


def prompts(count: int, text: str = "say") -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "prompt": f"{text} {number}"} for number in range(count)]


async def test_prompts_messages_and_probes_are_answered_in_order(world: Any) -> None:
    rows = prompts(600)
    rows[3] = {
        "id": "chat",
        "messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}],
        "parameters": {"max_tokens": 7, "stop": ["."]},
    }
    answers = await world.answers(rows, max_tokens=9, stop=["\n"])
    assert [answer["id"] for answer in answers] == [row["id"] for row in rows]
    assert answers[0] == {"id": "r0", "completion": "say 0!", "finish_reason": "stop", "token_count": 2}
    assert answers[3]["completion"] == "hello!"
    chat = next(request for request in world.door.requests if request.inputs)
    assert (chat.max_tokens, list(chat.stop)) == (7, ["."])
    plain = next(request for request in world.door.requests if request.prompts)
    assert (plain.max_tokens, list(plain.stop), plain.priority) == (9, ["\n"], inference_pb2.BULK)
    assert (plain.model, plain.parent) == ("projects/demo/models/echo", "projects/demo")
    batch = await world.get()
    assert (batch.state, batch.row_count, batch.answered_count) == (common_pb2.ACTIVE, 600, 600)
    assert (batch.error_count, batch.output_dataset) == (0, "projects/demo/datasets/b-1-answers")
    assert (batch.cost.prompt_token_count, batch.cost.cached_token_count) == (3600, 2400)
    assert (batch.cost.generated_token_count, batch.cost.wall_seconds > 0) == (1200, True)
    made = await world.datasets.datasets.get("b-1-answers")
    assert (made.kind, made.labels["batch"]) == (datasets_pb2.Dataset.ANSWERS, batch.name)


async def test_probes_are_scored_or_written(world: Any) -> None:
    rows = [
        {"id": "a", "kind": "k", "prompt": "x is", "choices": ["red", "blue"], "answer": "red"},
        {"id": "b", "kind": "list", "question": "which?", "answers": ["one"]},
    ]
    scored, written = await world.answers(rows, kind="probes")
    assert scored["scores"] == [
        {"sum_logprob": -3.0, "mean_logprob": -1.0, "token_count": 3},
        {"sum_logprob": -4.0, "mean_logprob": -1.0, "token_count": 4},
    ]
    assert written["completion"] == "Question: which?\nAnswer:!"


async def test_rows_that_cannot_be_answered_get_an_error_and_the_others_go_on(world: Any) -> None:
    rows = prompts(40)
    for number in (0, 5, 6, 39):
        rows[number]["prompt"] = f"long {number}"
    rows[20]["prompt"] = "odd"
    answers = await world.answers(rows)
    wrong = {number for number, answer in enumerate(answers) if "error" in answer}
    assert wrong == {0, 5, 6, 20, 39}
    assert answers[5] == {"id": "r5", "error": {"code": "PROMPT_TOO_LONG", "message": "the row is too long"}}
    assert answers[20]["error"]["code"] == "BAD_CHAT"
    assert all(answers[n]["completion"] == f"say {n}!" for n in range(40) if n not in wrong)
    assert set(world.door.asked.values()) == {1}
    batch = await world.get()
    assert (batch.answered_count, batch.error_count) == (40, 5)


async def test_what_is_drawn_depends_on_the_row_and_nothing_else(world: Any) -> None:
    same = [{"id": f"s{number}", "prompt": "say it"} for number in range(5)]
    first = await world.answers(same, temperature=1.0, seed=3)
    drawn = {answer["id"]: answer["completion"] for answer in first}
    assert len(set(drawn.values())) == 5  # equal prompts draw apart
    rows = [*prompts(300), *reversed(same), {"id": "own", "prompt": "say it", "parameters": {"seed": 7}}]
    second = await world.answers(rows, id="b-2", temperature=1.0, seed=3)
    assert {answer["id"]: answer["completion"] for answer in second[300:305]} == drawn
    assert second[305]["completion"] == "say it! 7"
    assert all(len(request.prompts) == 1 for request in world.door.requests)


async def test_a_full_or_absent_engine_is_waited_for(world: Any) -> None:
    world.door.busy = 7
    answers = await world.answers(prompts(20))
    assert len(answers) == 20
    assert set(world.door.asked.values()) == {1}


async def test_the_engine_is_kept_full_and_no_fuller(world: Any) -> None:
    world.door.delay_s = 0.01
    await world.answers(prompts(2000))
    assert 200 <= world.door.most_at_once <= 256


async def test_what_concerns_all_rows_ends_the_batch(world: Any) -> None:
    world.work()
    operation = await world.create([*prompts(10), {"id": "x", "prompt": "fatal"}])
    with pytest.raises(errors.OperationFailed) as caught:
        await world.client.operations.wait(operation, timeout_s=30)
    assert caught.value.reason == "MODEL_GONE"
    assert (await world.get()).state == common_pb2.FAILED


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ({"model": "projects/demo/models/none"}, "NOT_FOUND"),
        ({"model": "icl:docs@echo", "context": "projects/demo/contexts/c"}, "TWO_CONTEXTS"),
        ({"context": "projects/demo/contexts/none"}, "NOT_FOUND"),
        ({"dataset": "projects/demo/datasets/none"}, "NOT_FOUND"),
    ],
)
async def test_what_could_never_be_asked_is_refused_at_once(
    world: Any, batch: dict[str, str], reason: str
) -> None:
    with pytest.raises(errors.IngrainError) as caught:
        await world.create(prompts(1), **batch)
    assert reason in (caught.value.reason, caught.value.code.name)


async def test_documents_are_no_prompts(world: Any) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await world.create([{"id": "d", "text": "x"}], kind="documents")
    assert (caught.value.reason, caught.value.field_violations[0].field) == ("NOT_PROMPTS", "batch.dataset")


async def test_estimates_count_rows_and_tokens(world: Any) -> None:
    rows = [{"id": f"r{number}", "prompt": "one two three"} for number in range(1000)]
    operation = await world.create(rows, validate_only=True, max_tokens=10)
    estimate = await world.client.operations.wait(operation)
    assert (estimate.row_count, estimate.cost.prompt_token_count) == (1000, 3000)
    assert estimate.cost.generated_token_count == 10_000
    assert estimate.cost.flops == pytest.approx(1000 * (2 * 1000 * 13 + 4 * 2 * 8 * 13 * 14 / 2))
    with pytest.raises(errors.NotFound):
        await world.get()


async def test_cancelling_keeps_what_is_answered(world: Any) -> None:
    world.door.hold = "say 300"
    world.work()
    operation = await world.create(prompts(301))
    while (await world.get()).answered_count < 256 or world.door.at_once > 13:
        await asyncio.sleep(0.01)
    await world.client.operations.cancel(operation.name)
    with pytest.raises(errors.OperationCancelled):
        await world.client.operations.wait(operation, timeout_s=30)
    batch = await world.get()
    assert batch.state == common_pb2.ACTIVE
    answers = await world.read(batch.output_dataset)
    held = next(request for request in world.door.requests if "say 300" in request.prompts)
    expected = [number for number in range(301) if f"say {number}" not in held.prompts]
    assert [answer["id"] for answer in answers] == [f"r{number}" for number in expected]
    assert batch.answered_count == len(expected) >= 256


async def test_cancelled_while_nobody_is_at_work_it_keeps_its_answers_too(world: Any) -> None:
    world.door.hold = "say 300"
    world.work()
    operation = await world.create(prompts(301))
    while (await world.get()).answered_count < 256:
        await asyncio.sleep(0.01)
    await world.stop()  # hands the operation back
    await world.client.operations.cancel(operation.name)
    assert (await world.get()).state == common_pb2.FAILED
    sweeping_ = asyncio.create_task(sweeping.sweep(world.service.batches, 0.05))
    while not (batch := await world.get()).output_dataset:
        await asyncio.sleep(0.01)
    sweeping_.cancel()
    assert batch.state == common_pb2.ACTIVE
    assert [row["id"] for row in await world.read(batch.output_dataset)] == [f"r{n}" for n in range(256)]


async def test_the_engine_s_rate_is_kept(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an engine that computes 64 rows at once, each in its own time. The best of three: other work on the machine only takes away."""
    slots, drawn = asyncio.Semaphore(64), random.Random(1)
    took: list[float] = []
    times: list[float] = []

    async def row(text: str) -> inference_pb2.Generation:
        seconds = drawn.uniform(0.08, 0.4)
        async with slots:
            took.append(seconds)
            times.append(time.monotonic())
            await asyncio.sleep(seconds)
            times.append(time.monotonic())
        return inference_pb2.Generation(text=text, token_count=1)

    async def generate(request: Any, context: Any) -> inference_pb2.GenerateResponse:
        return inference_pb2.GenerateResponse(generations=await asyncio.gather(*map(row, request.prompts)))

    monkeypatch.setattr(world.door, "Generate", generate)
    share = 0.0
    for number in range(3):
        took.clear()
        times.clear()
        assert len(await world.answers(prompts(1000), id=f"b-{number}")) == 1000
        share = max(share, back_to_back(took, 64) / (times[-1] - times[0]))
        if share >= 0.9:
            return
    pytest.fail(f"{share:.2f} of the engine's rate")


def back_to_back(took: list[float], slots: int) -> float:
    """Seconds of an engine that always has the next row at hand."""
    free = [0.0] * slots
    for seconds in took:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


async def test_a_deleted_batch_stops_and_its_answers_are_nobodys(world: Any) -> None:
    world.door.hold = "say 0"
    world.work()
    operation = await world.create(prompts(4))
    await world.door.seen.wait()
    await world.stub.DeleteBatch(batches_pb2.DeleteBatchRequest(name="projects/demo/batches/b-1"))
    with pytest.raises(errors.OperationCancelled):
        await world.client.operations.wait(operation, timeout_s=30)
    with pytest.raises(errors.NotFound):
        await world.datasets.datasets.get("b-1-answers")


async def test_a_name_that_is_taken_gets_another(world: Any) -> None:
    taken = await world.datasets.datasets.upload(prompts(1), id="b-1-answers")
    answers = await world.answers(prompts(3))
    assert len(answers) == 3
    assert (await world.get()).output_dataset != taken.name


async def test_progress_and_lists_say_how_far_it_is(world: Any) -> None:
    operation = await world.create(prompts(3))
    assert (await world.get()).operation == operation.name
    assert (await world.get()).state == common_pb2.CREATING
    world.work()
    await world.client.operations.wait(operation, timeout_s=30)
    metadata = common_pb2.OperationMetadata()
    (await world.client.operations.fetch(operation.name)).metadata.Unpack(metadata)
    assert (metadata.completed_count, metadata.total_count, metadata.unit) == (3, 3, "rows")
    found = await world.stub.ListBatches(batches_pb2.ListBatchesRequest(parent="projects/demo"))
    assert [batch.name for batch in found.batches] == ["projects/demo/batches/b-1"]


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 65536),
        "temperature": st.floats(0, 2, width=32),
        "top_logprobs": st.integers(0, 64),
        "seed": st.integers(-(1 << 63), (1 << 63) - 1),
        "stop": st.lists(st.text(max_size=3), max_size=3),
        "json_schema": st.just({"type": "object"}),
    },
)
TEXT = st.text(max_size=30).map("say {}".format)
ROWS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"prompt": TEXT}, optional={"parameters": PARAMETERS}),
        st.fixed_dictionaries(
            {
                "messages": st.lists(
                    st.fixed_dictionaries({"role": st.just("user"), "content": TEXT}), min_size=1
                )
            }
        ),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_whatever_prompts_come_each_is_asked_once(world: Any, rows: list[dict[str, Any]]) -> None:
    world.door.asked.clear()
    number = len(world.door.requests)
    answers = await world.answers(json.loads(json.dumps(rows)), id=f"b-{number}-{len(rows)}")
    assert len({answer["id"] for answer in answers}) == len(answers) == len(rows)
    for row, answer in zip(rows, answers, strict=True):
        text = row["prompt"] if "prompt" in row else row["messages"][-1]["content"]
        trouble = [word for word in ("long", "odd", "fatal") if word in text]
        assert trouble or answer["completion"].startswith(f"{text}!")
