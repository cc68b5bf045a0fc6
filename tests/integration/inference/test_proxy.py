"""The door without Ray, the engine behind Serve's own gRPC proxy on a real Ray head."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import inference_pb2
from servicekit.errors import Exhausted, Invalid, Unavailable
from services.inference import serveproxy
from services.inference.engine.replica import Engine
from services.inference.serveproxy import ServeProxy
from services.inference.settings import InferenceSettings
from services.inference.wire import ContextRef, CountCall, GenerateCall, ModelRef, PrefillCall, ScoreCall
from services.supervisor.plan import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.timeout(420)]
BASE = "projects/demo/models/base"
ITEM = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])
REF = ModelRef("projects/demo/models/m", "5" * 64, "file:///nowhere", False, 512, 1, 1, 1)
SCORE = inference_pb2.ScoreRequest(model=BASE, items=[ITEM])


async def test_the_door_needs_no_ray_where_the_proxy_is_asked(
    start_ray: Any,
    start_door: Any,
    connect: Callable[..., AsyncClient],
    settings: Any,
    gateway: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, (grpc_port, http_port) = start_ray(), free_ports(2)
    proxy = {"serve_proxy": f"127.0.0.1:{grpc_port}", "serve_http_port": str(http_port)}
    # The door has no way to the cluster but the proxy: neither address nor token.
    door = start_door(SimpleNamespace(variables={}), inference_backend="proxy", **proxy)
    async with connect(door.target) as client:
        inference = client.stubs.inference
        with pytest.raises(errors.Unavailable):
            await inference.Score(SCORE, timeout=20)
        values = settings.model_dump(mode="json", include={"storage", "scratch", "max_queued", "dtype"})
        variables = {f"INGRAIN_{name.upper()}": str(value) for name, value in (values | proxy).items()}
        deployed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.inference.deploy"],
            env=os.environ | head.variables | variables,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert deployed.returncode == 0, deployed.stderr[-2000:]
        answer = await _until_answered(inference)
        model = gateway.models[BASE]
        ref = ModelRef(BASE, model.sha256, model.uri, False, 512, model.parameter_count, 2, 64)
        alone = await Engine(settings).score(ScoreCall(ref, None, [(ITEM.prompt, list(ITEM.choices))]))
        for choice, (total, count) in zip(answer.items[0].choices, alone.items[0], strict=True):
            assert (choice.token_count, choice.sum_logprob) == (count, pytest.approx(total, abs=1e-4))

        whole = await inference.Generate(_generate())
        pieces = [piece.text async for piece in inference.StreamGenerate(_generate())]
        assert "".join(pieces) == whole.generations[0].text
        with pytest.raises(errors.Invalid) as refused:
            await inference.Generate(_generate(prompts=["old " * 600]))
        assert (refused.value.reason, refused.value.metadata["context_window"]) == ("PROMPT_TOO_LONG", "512")
        where = (await inference.GetEngine(inference_pb2.GetEngineRequest())).environment
        assert (where.backend, where.device) == ("ray serve + transformers", "cpu")

        # A stream that nobody reads leaves the engine free.
        stream = inference.StreamGenerate(_generate(max_tokens=480, temperature=2.0))
        async for _ in stream:
            break
        stream.cancel()
        began = time.monotonic()
        await inference.Score(SCORE)
        assert time.monotonic() - began < 20

        with monkeypatch.context() as patch:
            patch.setattr(serveproxy, "APPLICATION", "stand-in")
            await _vllm_s_replicas_are_asked_through_their_ingress(head, proxy["serve_proxy"], tmp_path)

        # A cluster that went away is told as such, and the door stays.
        head.kill()
        with pytest.raises(errors.Unavailable):
            await _while_it_answers(inference)
        assert door.running
    assert door.end(signal.SIGTERM) == 0


async def _vllm_s_replicas_are_asked_through_their_ingress(head: Any, address: str, folder: Path) -> None:
    """Real are Serve, its proxy, Ray's router and the ingress; the two replicas are stand-ins (vllm_standin.py)."""
    deployed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, Path(__file__).with_name("vllm_standin.py"), folder],
        env=os.environ | head.variables,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert deployed.returncode == 0, deployed.stderr[-2000:]
    began = time.monotonic()
    async with _backend(InferenceSettings(engine="vllm", serve_proxy=address, replicas=2)) as asked:
        running = await asked.running()
        assert (running.backend, running.facts.device) == ("ray serve llm + vllm", "some GPU")
        await _calls_that_begin_alike_meet(asked)
        await _reasons_are_kept(asked)
        await _who_goes_away_is_not_answered(asked, folder)
    print(f"stand-ins asked in {time.monotonic() - began:.1f} s")


async def _calls_that_begin_alike_meet(asked: ServeProxy) -> None:
    """Whatever ingress they come by; and not all of them at one replica, though the model is the same."""
    contexts = [ContextRef(f"{number:064x}", "text") for number in range(8)]
    homes = {context: await asked.call("prefill", PrefillCall(REF, context)) for context in contexts}
    assert len(set(homes.values())) == 2
    for context, home in homes.items():
        assert await asked.call("score", ScoreCall(REF, context, [("x", ["a"])])) == home
        assert await asked.call("generate", GenerateCall(REF, context, ["y"])) == home
        pieces = [piece.text async for piece in asked.stream(GenerateCall(REF, context, ["z"], 1))]
        assert pieces == [home, ""]
    for number in range(4):
        prompt = f"{number} is the number of the beginning, which is longer than what comes behind it. "
        calls = [GenerateCall(REF, None, [prompt + end]) for end in "abcd"]
        assert len({await asked.call("generate", call) for call in calls}) == 1
    assert await asked.call("count", CountCall(REF, ["where any replica will do"])) in homes.values()


async def _reasons_are_kept(asked: ServeProxy) -> None:
    with pytest.raises(Invalid) as refused:
        await asked.call("score", _score("refuse"))
    assert (refused.value.reason, refused.value.field) == ("PROMPT_TOO_LONG", "items[0]")
    with pytest.raises(Exception, match="a bug"):
        await asked.call("score", _score("fail"))


async def _who_goes_away_is_not_answered(asked: ServeProxy, folder: Path) -> None:
    waiting: list[asyncio.Task[Any]] = []

    def add(count: int) -> None:
        waiting.extend(asyncio.create_task(asked.call("score", _score("wait"))) for _ in range(count))

    # Two replicas take two calls each, and one more waits at each ingress.
    for number in range(4):
        add(1)
        await _until(lambda: len([*folder.glob("began-wait-*")]) == number + 1)  # noqa: B023
    add(4)
    await _until(lambda: sum(task.done() for task in waiting) >= 2)
    problems = [task.exception() for task in waiting if task.done()]
    assert {(type(problem), problem.reason) for problem in problems} == {(Exhausted, "ENGINE_BUSY")}
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await _until(lambda: len([*folder.glob("ended-wait-*")]) == 4)
    async with aclosing(asked.stream(GenerateCall(REF, None, ["x"], 100))) as pieces:
        async for piece in pieces:
            if piece.text == "more":
                break
    await _until(lambda: len([*folder.glob("ended-stream-*")]) == len([*folder.glob("began-stream-*")]))
    assert await asked.ready()
    with pytest.raises(Unavailable) as lost:
        await asked.call("score", _score("die"))
    assert lost.value.reason == "ENGINE_RESTARTING"


@asynccontextmanager
async def _backend(settings: InferenceSettings) -> AsyncIterator[ServeProxy]:
    """The door's backend, once it has seen the engines."""
    asked = ServeProxy(settings)
    task = asyncio.create_task(asked.run())
    await _until(asked.ready)
    yield asked
    task.cancel()
    await asyncio.wait([task])


async def _until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 60
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def _score(prompt: str) -> ScoreCall:
    return ScoreCall(REF, None, [(prompt, ["a"])])


def _generate(**fields: Any) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        **{"model": BASE, "prompts": ["which tools"], "max_tokens": 20} | fields
    )


async def _while_it_answers(inference: Any) -> None:
    """Replicas and proxy notice a moment later that their node has died."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        await inference.Score(SCORE, timeout=60)
        await asyncio.sleep(0.2)


async def _until_answered(inference: Any) -> inference_pb2.ScoreResponse:
    deadline = time.monotonic() + 120
    while True:
        try:
            return await inference.Score(SCORE, timeout=60)
        except errors.Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.3)
