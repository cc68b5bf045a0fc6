"""The door without Ray, the engine behind Serve's own gRPC proxy on a real Ray head."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import inference_pb2
from services.inference.engine.replica import Engine
from services.inference.wire import ModelRef, ScoreCall
from services.supervisor.plan import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.timeout(420)]
BASE = "projects/demo/models/base"
ITEM = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])
SCORE = inference_pb2.ScoreRequest(model=BASE, items=[ITEM])


async def test_the_door_needs_no_ray_where_the_proxy_is_asked(
    start_ray: Any, start_door: Any, connect: Callable[..., AsyncClient], settings: Any, gateway: Any
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

        # A cluster that went away is told as such, and the door stays.
        head.kill()
        with pytest.raises(errors.Unavailable):
            await _while_it_answers(inference)
        assert door.running
    assert door.end(signal.SIGTERM) == 0


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
