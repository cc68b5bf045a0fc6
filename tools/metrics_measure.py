"""What counting costs: the same call with and without it, in alternating blocks, in one process with its client.

    python -m tools.metrics_measure [--pairs 60] [--calls 200]

`service`: GetModel answered by a bare servicer behind the interceptor. `gateway`: the same through the gateway, which counts too. Prints
JSON: processor time per call in microseconds, the ratio of each pair's two blocks (median, quartiles), by processor time and by clock;
what the counting of one call takes by itself, and how long one scrape takes.
"""

import argparse
import asyncio
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import structlog
from prometheus_client import generate_latest

from ingrain.v1 import trainer_pb2, trainer_pb2_grpc
from servicekit import metrics
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.gateway.server import build
from services.gateway.settings import GatewaySettings

Call = Callable[[], Awaitable[object]]


class Trainer(trainer_pb2_grpc.TrainerServicer):
    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        return trainer_pb2.Model(name=request.name)


def uncounted() -> Any:
    """The functions that count, for a while without counting."""
    return mock.patch.multiple(
        metrics, call_begun=lambda method: time.monotonic(), call_ended=lambda method, code, begun: None
    )


async def block(call: Call, calls: int) -> tuple[float, float]:
    """Seconds of the processor and of the clock for each call."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls


async def compared(call: Call, pairs: int, calls: int) -> dict[str, Any]:
    await block(call, calls)
    found: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for pair in range(pairs):
        blocks: dict[bool, tuple[float, float]] = {}
        for counts in (True, False) if pair % 2 else (False, True):
            if counts:
                blocks[counts] = await block(call, calls)
            else:
                with uncounted():
                    blocks[counts] = await block(call, calls)
        found.append((blocks[True], blocks[False]))
    told: dict[str, Any] = {}
    for place, name in enumerate(("cpu", "wall")):
        ratios = [counted[place] / bare[place] for counted, bare in found]
        low, middle, high = statistics.quantiles(ratios, n=4)
        told[name] = {
            "us_counted": round(1e6 * statistics.median(counted[place] for counted, _ in found), 1),
            "us_uncounted": round(1e6 * statistics.median(bare[place] for _, bare in found), 1),
            "ratio": [round(low, 3), round(middle, 3), round(high, 3)],
        }
    return told


def alone_us(times: int = 20_000) -> float:
    """Of the processor, for one call's counting and nothing else."""
    method = "/ingrain.v1.Trainer/GetModel"
    begun = time.process_time()
    for _ in range(times):
        metrics.call_ended(method, "OK", metrics.call_begun(method))
    return round(1e6 * (time.process_time() - begun) / times, 1)


async def measured(pairs: int, calls: int, folder: Path) -> dict[str, Any]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    backend = new_server(ServiceSettings())
    trainer_pb2_grpc.add_TrainerServicer_to_server(Trainer(), backend)
    port = backend.add_insecure_port("127.0.0.1:0")
    await backend.start()
    gateway = await build(
        GatewaySettings(
            backend_trainer=f"127.0.0.1:{port}", database_url=f"sqlite:///{folder / 'gateway.sqlite'}"
        )
    )
    await gateway.server.start()
    request = trainer_pb2.GetModelRequest(name="projects/default/models/m")
    told: dict[str, Any] = {"pairs": pairs, "calls": calls}
    for name, at in (("service", port), ("gateway", gateway.port)):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{at}") as channel:
            stub = trainer_pb2_grpc.TrainerStub(channel)
            told[name] = await compared(lambda stub=stub: stub.GetModel(request), pairs, calls)  # type: ignore[misc]
    told["alone_us"] = alone_us()
    metrics.expect_operations(["A", "B", "C"])
    metrics.expect_storage()
    text = generate_latest(metrics.REGISTRY)
    begun = time.perf_counter()
    for _ in range(20):
        generate_latest(metrics.REGISTRY)
    told["scrape"] = {"ms": round((time.perf_counter() - begun) * 50, 2), "bytes": len(text)}
    await gateway.stop(1)
    await backend.stop(1)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measured(options.pairs, options.calls, Path(folder))), indent=1))


if __name__ == "__main__":
    main()
