"""What the gateway counts of calls, and that callers' words never become labels."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
import pytest
from prometheus_client import generate_latest

from ingrain import errors
from ingrain.v1 import trainer_pb2
from servicekit import metrics

GET, LIST, WATCH = (f"/ingrain.v1.Trainer/{name}" for name in ("GetModel", "ListModels", "WatchTraining"))


def calls(method: str, code: str) -> float:
    labels = {"rpc_method": method, "rpc_response_status_code": code}
    return metrics.REGISTRY.get_sample_value("rpc_server_call_duration_seconds_count", labels) or 0.0


def refusals(reason: str) -> float:
    return metrics.REGISTRY.get_sample_value("ingrain_refusals_total", {"reason": reason}) or 0.0


def in_flight() -> float:
    return sum(sample.value for family in metrics.IN_FLIGHT.collect() for sample in family.samples)


async def until(*equal: Callable[[], bool]) -> None:
    """A call's end is told before it is counted."""
    async with asyncio.timeout(30):
        while not all(one() for one in equal):
            await asyncio.sleep(0.05)


def grown(count: Callable[..., float], *of: str) -> Callable[[], float]:
    before = count(*of)
    return lambda: count(*of) - before


async def test_passed_calls_are_counted_by_method_and_code(closed: Any) -> None:
    """Twice each where they pass: this process is the gateway, and the service behind it."""
    answered, missing, open_calls = grown(calls, GET, "OK"), grown(calls, GET, "NOT_FOUND"), grown(in_flight)
    refused, by_reason = grown(calls, GET, "UNAUTHENTICATED"), grown(refusals, "NO_CREDENTIALS")
    broken = grown(calls, WATCH, "INVALID_ARGUMENT")
    key = (await closed.new_key()).secret
    async with closed.client(key) as client:
        await client.models.get("m")
        with pytest.raises(errors.NotFound):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="projects/other/models/m"))
        watching = client.stubs.trainer.WatchTraining(
            trainer_pb2.WatchTrainingRequest(name="projects/default/models/m")
        )
        with pytest.raises(errors.Invalid):
            async for _ in watching:
                pass
    async with closed.client() as stranger:
        with pytest.raises(errors.Unauthenticated):
            await stranger.models.get("m")
    await until(lambda: (answered(), missing(), broken()) == (2, 2, 2))
    await until(lambda: (refused(), by_reason()) == (1, 1), lambda: open_calls() == 0)


async def test_methods_and_routes_that_callers_make_up_are_no_labels(start: Any) -> None:
    unknown, open_calls = grown(calls, "unknown", "UNIMPLEMENTED"), grown(in_flight)
    async with start(http_port=0) as platform:
        assert await platform.status("/made.up.by/ACaller") == grpc.StatusCode.UNIMPLEMENTED
        address = f"http://127.0.0.1:{platform.gateway.http.port}"
        async with aiohttp.ClientSession() as session:
            for method, path in (("GET", "/made/up"), ("PUT", "/v1/models"), ("POST", "/v1/completions")):
                async with session.request(method, address + path):
                    pass
    await until(lambda: unknown() >= 2, lambda: open_calls() == 0)  # over gRPC and over HTTP
    told = generate_latest(metrics.REGISTRY).decode()
    assert "made" not in told.lower()
    assert "PUT" not in told
    assert 'rpc_method="POST /v1/completions"' in told


async def test_calls_that_are_broken_off_end_in_the_count(platform: Any) -> None:
    cancelled, open_calls = grown(calls, LIST, "CANCELLED"), grown(in_flight)
    async with platform.client() as client:
        request = trainer_pb2.ListModelsRequest(parent="projects/default")
        with pytest.raises(errors.DeadlineExceeded):
            await client.stubs.trainer.ListModels(request, timeout=0.3)
        await asyncio.wait_for(platform.trainer.cancelled.wait(), 30)
    await until(lambda: cancelled() >= 1, lambda: open_calls() == 0)
