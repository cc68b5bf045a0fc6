"""What the platform adds to a call of the engine."""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from benchmarks.inference import stored
from benchmarks.inference.contender import ROOT, Contender
from benchmarks.inference.parts import Found, Place
from benchmarks.inference.platform import Running, platform
from ingrain import AsyncClient, errors
from ingrain.v1 import inference_pb2
from services.supervisor.plan import free_ports
from tools.worlds_study import bundled_model

ITEM = ("Is the bralo bigger than the cemid?", [" yes, it is.", " no, it is not."])
ITEM_ASKED = inference_pb2.ScoreItem(prompt=ITEM[0], choices=ITEM[1])
CALLS = 25  # of one contender, one after the other
WAIT_S = 180.0
T = TypeVar("T")


def hop(place: Place, pairs: int) -> Found:
    """A scored question by the bundled model: of the engine itself, through inference's door, and through the gateway."""
    storage = place.storage.parent / "small"
    stored.store(ROOT / "models" / "small", storage)
    direct = Contender("ours", ROOT / "models" / "small", storage, place.scratch / "small")
    with (
        direct,
        ports() as variables,
        platform(_deploy_with_proxy) as running,
        running.beside(variables) as proxied,
    ):
        blocks = asyncio.run(_hops(running, proxied, direct, 2 * pairs))
    facts: dict[str, Any] = {
        f"{way}: p50, p99 (ms)": f"{ms(statistics.median(_all(blocks[way])))}, {ms(_p99(_all(blocks[way])))}"
        for way in blocks
    }
    for way in ("door", "proxy", "gateway"):
        added = sorted(
            statistics.median(through) - statistics.median(alone)
            for through, alone in zip(blocks[way], blocks["direct"], strict=True)
        )
        facts[f"added at p50 by way of the {way} (ms)"] = (
            f"{ms(statistics.median(added))} (blocks: {ms(added[0])} to {ms(added[-1])})"
        )
    said = (
        f"One question with two choices by the bundled model, {CALLS} calls a block one after the other, blocks in turns. direct: the "
        "engine's own method in a process of its own; door: gRPC to inference, from there by Serve's handle to the replica (goal: 4 ms "
        "added); proxy: the same by Serve's own gRPC proxy (goal: 6 ms); gateway: the door by handle, through the gateway."
    )
    return Found("The platform's hop", said, [], facts)


async def _hops(
    running: Running, proxied: int, direct: Contender, count: int
) -> dict[str, list[list[float]]]:
    blocks: dict[str, list[list[float]]] = {"direct": [], "door": [], "proxy": [], "gateway": []}
    async with running.gateway() as gateway, running.door() as door, running.door(proxied) as proxy:
        request = await scored_question(gateway)
        await answers(lambda: proxy.stubs.inference.Score(request))
        items = [list(ITEM)]
        ways: dict[str, Callable[[], Awaitable[list[float]]]] = {
            "direct": lambda: asyncio.to_thread(
                lambda: direct.turn("score_often", items=items, times=CALLS)[1]
            ),
            "door": lambda: _timed(door, request),
            "proxy": lambda: _timed(proxy, request),
            "gateway": lambda: _timed(gateway, request),
        }
        for way in ways.values():
            await way()
        for number in range(count):
            for name in list(ways) if number % 2 else reversed(ways):
                blocks[name].append(await ways[name]())
    return blocks


async def _timed(client: AsyncClient, request: inference_pb2.ScoreRequest) -> list[float]:
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await client.stubs.inference.Score(request)
        taken.append(time.perf_counter() - began)
    return taken


async def scored_question(gateway: AsyncClient) -> inference_pb2.ScoreRequest:
    model = await model_that_answers(gateway)
    return inference_pb2.ScoreRequest(model=model, items=[ITEM_ASKED])


async def model_that_answers(gateway: AsyncClient) -> str:
    """The bundled model, once it does."""

    async def asked() -> str:
        model = await bundled_model(gateway)
        await gateway.stubs.inference.Score(inference_pb2.ScoreRequest(model=model, items=[ITEM_ASKED]))
        return model

    return await answers(asked)


async def answers(call: Callable[[], Awaitable[T]]) -> T:
    """What it gives, once what is behind it has started."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return await call()
        except errors.Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


@contextlib.contextmanager
def ports() -> Iterator[dict[str, str]]:
    """Of Serve's proxies, told to whoever is started in the block."""
    grpc_port, http_port = free_ports(2)
    variables = {"INGRAIN_SERVE_PROXY": f"127.0.0.1:{grpc_port}", "INGRAIN_SERVE_HTTP_PORT": str(http_port)}
    os.environ.update(variables)
    yield variables
    for name in variables:
        del os.environ[name]


def _deploy_with_proxy(running: Running) -> None:
    """The door finds what it would have deployed itself."""
    command = [sys.executable, "-m", "services.inference.deploy"]
    subprocess.run(command, env=os.environ | running.inference.variables, check=True, timeout=WAIT_S)


def _all(blocks: list[list[float]]) -> list[float]:
    return [seconds for block in blocks for seconds in block]


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
