"""A door behind Serve's proxy and engines of its own release and of others, over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from servicekit.errors import Unavailable
from services.inference import app
from services.inference.serveproxy import ServeProxy, add_engine_servicer_to_server, packed, unpacked
from services.inference.settings import InferenceSettings
from services.inference.wire import METHODS


class Engines:
    """`digest`: what they say they were built from."""

    digest = ""

    async def Call(self, request: Any, context: Any) -> Any:
        method, argument = unpacked(request)
        return packed(self.digest if method == "digest" else [method, argument])

    async def Stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield packed(unpacked(request))


@pytest.fixture
async def engines() -> AsyncIterator[tuple[Engines, ServeProxy]]:
    """And a door that looks at them."""
    server, servicer = grpc.aio.server(), Engines()
    add_engine_servicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    door = ServeProxy(InferenceSettings(serve_proxy=f"127.0.0.1:{port}", ray_watch_s=0.02))
    yield servicer, door
    await server.stop(0)


async def test_engines_of_another_release_are_told_once_and_not_asked(
    engines: tuple[Engines, ServeProxy],
) -> None:
    servicer, door = engines
    # Of other settings, which is none of the door's business.
    servicer.digest = app.digest(InferenceSettings(replicas=7))
    with capture_logs() as logs:
        looking = asyncio.create_task(door.run())
        await _until(door, True)
        assert await door.call("count", 1) == ["count", 1]
        servicer.digest = f"{METHODS + 1}:abc"
        await _until(door, False)
        with pytest.raises(Unavailable) as refused:
            await door.call("count", 1)
        assert refused.value.reason == "ENGINES_OF_ANOTHER_RELEASE"
        assert refused.value.metadata == {"engines": str(METHODS + 1), "door": str(METHODS)}
        with pytest.raises(Unavailable, match="one version"):
            await anext(door.stream(1))
        servicer.digest = "a" * 64  # as it was before releases stood in it
        await _said(logs, 2)
        assert not await door.ready()
        servicer.digest = app.digest(InferenceSettings())
        await _until(door, True)
        assert await anext(door.stream(1)) == 1
        looking.cancel()
        await asyncio.wait([looking])
    told = [(line["event"], line["engines"]) for line in logs]
    assert told == [
        ("engines_of_another_release", str(METHODS + 1)),
        ("engines_of_another_release", "5 or older"),
    ]


async def _until(door: ServeProxy, ready: bool) -> None:
    async with asyncio.timeout(30):
        while await door.ready() != ready:
            await asyncio.sleep(0.01)


async def _said(logs: list[Any], count: int) -> None:
    async with asyncio.timeout(30):
        while len(logs) < count:
            await asyncio.sleep(0.01)
