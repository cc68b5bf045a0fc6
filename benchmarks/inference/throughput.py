"""Whether the platform keeps pace with an engine that only waits."""

import asyncio
import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

from benchmarks.inference.hop import ms, scored_question
from benchmarks.inference.parts import Found, Place
from benchmarks.inference.platform import Running, platform

SLEEP_S = 0.1
SECONDS = 4.0
CALLERS = (8, 16, 32, 64)


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
        request = await scored_question(gateway)
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
            by = ", ".join(f"{name} {ms(seconds / calls)}" for name, seconds in spent.most_common(5))
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
