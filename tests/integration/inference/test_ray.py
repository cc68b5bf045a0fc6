"""The door in a process of its own, the engine a replica of a real Ray Serve application."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, inference_pb2
from services.inference.engine.replica import Engine
from services.inference.wire import ModelRef, ScoreCall

pytestmark = [pytest.mark.ray, pytest.mark.timeout(420)]
BASE = "projects/demo/models/base"
ITEM = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])
SCORE = inference_pb2.ScoreRequest(model=BASE, items=[ITEM])


def generate(**fields: Any) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        **{"model": BASE, "prompts": ["which tools"], "max_tokens": 20} | fields
    )


async def health(target: str) -> int:
    async with grpc.aio.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service="ingrain.v1.Inference")
        return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


async def until(condition: Callable[[], Awaitable[Any]], timeout_s: float = 180.0) -> Any:
    """The first true value; what fails in between is tried again."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if found := await condition():
                return found
        except errors.IngrainError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)


def replicas(head_variables: dict[str, str]) -> list[int]:
    """Process ids of the engine's replicas on this head."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
            with open(f"/proc/{pid}/environ", "rb") as file:
                mine = head_variables["RAY_AUTH_TOKEN"].encode() in file.read()
        except OSError:
            continue
        if mine and b"ServeReplica:ingrain-inference" in command:
            found.append(int(pid))
    return found


async def test_the_engine_serves_through_ray_and_comes_back_from_every_death(
    start_ray: Any, start_door: Any, connect: Callable[..., AsyncClient], settings: Any, gateway: Any
) -> None:
    head = start_ray()
    door = start_door(head)
    assert await health(door.target) == health_pb2.HealthCheckResponse.NOT_SERVING
    async with connect(door.target) as client:
        inference = client.stubs.inference
        with pytest.raises(errors.Unavailable) as caught:
            await inference.Score(SCORE)
        assert caught.value.reason == "ENGINE_STARTING"
        serving = health_pb2.HealthCheckResponse.SERVING
        await until(lambda: _is(health(door.target), serving))

        # The same numbers as of the engine alone.
        answer = await inference.Score(SCORE, timeout=120)
        model = gateway.models[BASE]
        ref = ModelRef(BASE, model.sha256, model.uri, False, 512, model.parameter_count, 2, 64)
        alone = await Engine(settings).score(ScoreCall(ref, None, [(ITEM.prompt, list(ITEM.choices))]))
        for choice, (total, count) in zip(answer.items[0].choices, alone.items[0], strict=True):  # type: ignore[union-attr]
            assert (choice.token_count, choice.sum_logprob) == (count, pytest.approx(total, abs=1e-4))

        where = (await inference.GetEngine(inference_pb2.GetEngineRequest())).environment
        assert (where.backend, where.device, where.dtype) == ("ray serve + transformers", "cpu", "float32")
        assert where.process_count == len(replicas(head.variables)) == 1
        assert set(where.versions) == {"torch", "transformers", "ray"}

        # Contexts, streams and refusals on the way through Ray.
        operation = await client.contexts.create("base", "documents", "held")
        context = await operation.result(120)
        held = SCORE.__class__.FromString(SCORE.SerializeToString())
        held.context = context.name
        assert (await inference.Score(held)).usage.cached_token_count == context.token_count
        whole = await inference.Generate(generate())
        pieces = [piece.text async for piece in inference.StreamGenerate(generate())]
        assert "".join(pieces) == whole.generations[0].text
        with pytest.raises(errors.Invalid) as refused:
            await inference.Generate(generate(prompts=["old " * 600]))
        assert (refused.value.reason, refused.value.metadata["context_window"]) == ("PROMPT_TOO_LONG", "512")

        # A stream that nobody reads and a call that nobody waits for leave the engine free.
        stream = inference.StreamGenerate(generate(max_tokens=480, temperature=2.0))
        async for _ in stream:
            break
        stream.cancel()
        with pytest.raises(errors.DeadlineExceeded):
            await inference.Generate(generate(prompts=["the old"] * 400, max_tokens=480), timeout=0.5)
        started = time.monotonic()
        await inference.Score(SCORE, timeout=60)
        assert time.monotonic() - started < 30

        # A replica that dies is replaced.
        (replica,) = replicas(head.variables)
        os.kill(replica, signal.SIGKILL)
        again = await until(lambda: inference.Score(held, timeout=60))
        assert replicas(head.variables) != [replica]

        # A door that dies finds the engine and its caches.
        (replica,) = replicas(head.variables)
        door.end()
        door.start()
        found = await until(lambda: inference.Score(held, timeout=60))
        assert replicas(head.variables) == [replica]
        assert found.items == again.items
        assert found.usage.prompt_token_count < again.usage.prompt_token_count

        # A cluster that dies is joined again, once there is one.
        head.kill()
        await until(lambda: _is(gone(replica), True))
        head.start()

        async def revived() -> Any:
            if not door.running:  # whoever watches the process starts it again
                door.start()
            return await inference.Score(held, timeout=20)

        revived_answer = await until(revived)
        assert revived_answer.items[0].choices[0].sum_logprob == pytest.approx(
            again.items[0].choices[0].sum_logprob, abs=1e-4
        )
        assert door.end(signal.SIGTERM) == 0


async def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


async def _is(awaitable: Awaitable[int], wanted: int) -> bool:
    return await awaitable == wanted


async def test_too_few_processors_are_said(
    start_ray: Any, start_door: Any, connect: Callable[..., AsyncClient]
) -> None:
    door = start_door(start_ray(cpus=1), replica_cpus="3", ray_wait_s="2")
    async with connect(door.target) as client:

        async def complaint() -> Any:
            try:
                await client.stubs.inference.Score(SCORE)
            except errors.Unavailable as error:
                return error if "not running after 2 s" in error.message else None
            return None

        error = await until(complaint)
        assert error.reason == "ENGINE_STARTING"
        assert await health(door.target) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_replicas_have_homes_finish_their_streams_and_come_when_they_are_needed(
    start_ray: Any, start_door: Any, connect: Callable[..., AsyncClient]
) -> None:
    head = start_ray()
    door = start_door(head, replicas="2", replicas_most="3", replica_load="2", replica_cpus="0.1")
    async with connect(door.target) as client:
        inference = client.stubs.inference
        await until(lambda: inference.Score(SCORE, timeout=60))
        await until(lambda: _is(count_of(head), 2))

        # Whoever asks about a context is led to the replica that read it.
        contexts = []
        for number, key in enumerate(["", "fact"]):
            selection = common_pb2.RowSelection(distinct_key=key)
            operation = await client.contexts.create("base", "documents", f"home-{number}", selection)
            contexts.append(await operation.result(120))
        for _ in range(6):
            for context in contexts:
                held = inference_pb2.ScoreRequest(model=BASE, context=context.name, items=[ITEM])
                usage = (await inference.Score(held, timeout=60)).usage
                assert usage.cached_token_count == context.token_count
                assert usage.prompt_token_count < 2 * context.token_count

        # More come under load.
        asked = generate(max_tokens=400, temperature=2.0, prompts=["the old bridge"])

        async def ask_on() -> None:
            while True:
                await whole(inference.StreamGenerate(asked))

        asking = [asyncio.create_task(ask_on()) for _ in range(12)]
        await until(lambda: _is(count_of(head), 3))
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


async def test_a_replica_that_is_told_to_stop_finishes_its_streams(
    start_ray: Any, start_door: Any, connect: Callable[..., AsyncClient]
) -> None:
    head = start_ray()
    door = start_door(head)
    asked = generate(max_tokens=480, temperature=2.0, prompts=["the old bridge"])
    async with connect(door.target) as client:
        inference = client.stubs.inference
        await until(lambda: inference.Score(SCORE, timeout=60))
        expected = await whole(inference.StreamGenerate(asked))
        (replica,) = replicas(head.variables)
        streams = [asyncio.create_task(whole(inference.StreamGenerate(asked))) for _ in range(8)]
        await asyncio.sleep(0.3)
        # The same door with other settings: Serve puts a new replica in the old one's place.
        other = start_door(head, running_count="32")
        async with connect(other.target) as second:
            await until(lambda: second.stubs.inference.Score(SCORE, timeout=60))
        assert await asyncio.gather(*streams) == [expected] * 8
        await until(lambda: _is(gone(replica), True))


async def whole(stream: Any) -> str:
    return "".join([piece.text async for piece in stream])


async def count_of(head: Any) -> int:
    return len(replicas(head.variables))
