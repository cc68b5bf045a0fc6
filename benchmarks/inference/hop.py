"""What the platform adds to a call of the engine, and whether it keeps pace with an engine that only waits."""

import asyncio
import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

from benchmarks.inference import stored
from benchmarks.inference.contender import ROOT, Contender
from benchmarks.inference.parts import Found, Place
from benchmarks.inference.platform import Running, platform
from ingrain import AsyncClient, errors
from ingrain.v1 import inference_pb2
from tools.worlds_study import bundled_model

ITEM = ("Is the bralo bigger than the cemid?", [" yes, it is.", " no, it is not."])
ITEM_ASKED = inference_pb2.ScoreItem(prompt=ITEM[0], choices=ITEM[1])
CALLS = 25  # of one contender, one after the other
SLEEP_S = 0.1
SECONDS = 4.0
CALLERS = (8, 16, 32, 64)
WAIT_S = 180.0


def hop(place: Place, pairs: int) -> Found:
    """A scored question by the bundled model: of the engine itself, through inference's door, and through the gateway."""
    storage = place.storage.parent / "small"
    stored.store(ROOT / "models" / "small", storage)
    direct = Contender("ours", ROOT / "models" / "small", storage, place.scratch / "small")
    with direct, platform() as running:
        blocks = asyncio.run(_hops(running, direct, 2 * pairs))
    facts: dict[str, Any] = {
        f"{way}: p50, p99 (ms)": f"{_ms(statistics.median(_all(blocks[way])))}, {_ms(_p99(_all(blocks[way])))}"
        for way in blocks
    }
    for way in ("door", "gateway"):
        added = sorted(
            statistics.median(through) - statistics.median(alone)
            for through, alone in zip(blocks[way], blocks["direct"], strict=True)
        )
        facts[f"added at p50 by way of the {way} (ms)"] = (
            f"{_ms(statistics.median(added))} (blocks: {_ms(added[0])} to {_ms(added[-1])})"
        )
    said = (
        f"One question with two choices by the bundled model, {CALLS} calls a block one after the other, blocks in turns. direct: the "
        "engine's own method in a process of its own; door: gRPC to inference, from there by Serve's handle to the replica (goal: 4 ms "
        "added); gateway: the same through the gateway's proxy (goal: 6 ms)."
    )
    return Found("The platform's hop", said, [], facts)


async def _hops(running: Running, direct: Contender, count: int) -> dict[str, list[list[float]]]:
    blocks: dict[str, list[list[float]]] = {"direct": [], "door": [], "gateway": []}
    async with running.gateway() as gateway, running.door() as door:
        request = await _request(gateway)
        items = [list(ITEM)]
        ways: dict[str, Callable[[], Awaitable[list[float]]]] = {
            "direct": lambda: asyncio.to_thread(
                lambda: direct.turn("score_often", items=items, times=CALLS)[1]
            ),
            "door": lambda: _timed(door, request),
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


def throughput(place: Place, pairs: int) -> Found:
    """Calls a second where the engine does nothing for 100 ms, against the same wait without a platform."""
    with platform(_deploy_sleeping) as running:
        facts = asyncio.run(_rates(running, pairs))
    said = (
        f"An engine that waits {SLEEP_S * 1000:.0f} ms instead of computing, behind gateway, inference's door and Serve; the caller on the same "
        "two cores. Share of the calls that the same number of callers get who only wait (goal: 0.95); median of turns, and their range. Behind "
        "it, what a call takes of processors, by process, and how much of the machine's cores that is: at 100 % more callers get no more."
    )
    return Found("Throughput with an engine that waits", said, [], facts)


async def _rates(running: Running, pairs: int) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    async with running.gateway() as gateway:
        request = await _request(gateway)
        for callers in CALLERS:
            shares, spent, calls, began = [], Counter[str](), 0.0, 0.0
            for _ in range(pairs):
                alone = await _rate(lambda: asyncio.sleep(SLEEP_S), callers)
                before, started = processors(), time.perf_counter()
                through = await _rate(lambda: gateway.stubs.inference.Score(request), callers)
                began += time.perf_counter() - started
                calls += through * (time.perf_counter() - started)
                spent += processors() - before
                shares.append(through / alone)
            shares.sort()
            busy = sum(spent.values()) / began / (os.cpu_count() or 1)
            by = ", ".join(f"{name} {_ms(seconds / calls)}" for name, seconds in spent.most_common(5))
            facts[f"{callers} callers"] = (
                f"{statistics.median(shares):.3f} ({shares[0]:.3f} to {shares[-1]:.3f}) of {callers / SLEEP_S:.0f} a second; "
                f"{busy:.0%} of the cores; ms of a processor a call: {by}"
            )
    return facts


def processors() -> Counter[str]:
    """Processor seconds so far of this process and all that it started, by what they are."""
    spent: Counter[str] = Counter()
    mine = psutil.Process()
    for process in [mine, *mine.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent[_kind(process, mine)] += times.user + times.system
    return spent


def _kind(process: psutil.Process, mine: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    if process == mine:
        return "caller"
    known = {"services.gateway": "gateway", "services.inference": "door", "ServeReplica": "replica"}
    return next((name for mark, name in known.items() if mark in line), "the rest of Ray and the platform")


async def _rate(call: Callable[[], Awaitable[Any]], callers: int) -> float:
    done, end = 0, time.perf_counter() + SECONDS

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(callers)))
    return done / (time.perf_counter() - began)


async def _request(gateway: AsyncClient) -> inference_pb2.ScoreRequest:
    model = await model_that_answers(gateway)
    return inference_pb2.ScoreRequest(model=model, items=[ITEM_ASKED])


async def model_that_answers(gateway: AsyncClient) -> str:
    """The bundled model, once it does."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            model = await bundled_model(gateway)
            await gateway.stubs.inference.Score(inference_pb2.ScoreRequest(model=model, items=[ITEM_ASKED]))
            return model
        except errors.Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


def _deploy_sleeping(running: Running) -> None:
    """Under the engine's name and digest, so that the door takes it for its own."""
    os.environ.update(
        {
            key: value
            for key, value in running.inference.variables.items()
            if key.startswith(("RAY_", "INGRAIN_"))
        }
    )
    import ray
    from ray import cloudpickle, serve

    from benchmarks.inference import sleeping
    from services.inference import app
    from services.inference.settings import InferenceSettings

    cloudpickle.register_pickle_by_value(sleeping)
    ray.init(address="auto", namespace="ingrain", log_to_driver=False, configure_logging=False)
    serve.start(http_options={"location": "NoServer"})
    settings = InferenceSettings()
    bound = sleeping.Sleeping.options(
        max_ongoing_requests=settings.max_queued,
        max_queued_requests=settings.max_queued,
        ray_actor_options={"num_cpus": settings.replica_cpus},
    ).bind(SLEEP_S, app.digest(settings))
    serve.run(bound, name=app.NAME, route_prefix=None)
    ray.shutdown()


def _all(blocks: list[list[float]]) -> list[float]:
    return [seconds for block in blocks for seconds in block]


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
