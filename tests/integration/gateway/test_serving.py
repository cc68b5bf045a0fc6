"""One address: health of every service, merged reflection, and a gateway that lets nobody in by mistake."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from servicekit.errors import Invalid
from services.gateway import routes
from services.gateway.server import refuse_open_door
from services.gateway.settings import GatewaySettings

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_is_answered_for_each_service_without_credentials(closed: Any) -> None:
    async with grpc.aio.insecure_channel(closed.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "ingrain.v1.Keys", "google.longrunning.Operations"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == SERVING, name
        away = await stub.Check(health_pb2.HealthCheckRequest(service="ingrain.v1.Studies"))
        assert away.status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nonsense"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_watchers_of_health_are_let_go_at_the_end(platform: Any) -> None:
    async with grpc.aio.insecure_channel(platform.address) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        seen = [(await anext(aiter(watching))).status]
        stopping = asyncio.ensure_future(platform.gateway.server.stop(20))
        platform.gateway.checks.close()
        seen += [answer.status async for answer in watching]
        await asyncio.wait_for(stopping, 5)
    assert seen == [SERVING, NOT_SERVING]


async def test_reflection_shows_every_service(closed: Any) -> None:
    def look() -> list[str]:
        with grpc.insecure_channel(closed.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            for service in (*routes.BACKEND_OF_SERVICE, *routes.OWN_SERVICES, routes.OPERATIONS):
                described = database.FindFileContainingSymbol(service)
                assert service.rpartition(".")[2] in [s.name for s in described.service]
            return list(database.get_services())

    shown = await asyncio.to_thread(look)
    assert {*routes.BACKEND_OF_SERVICE, *routes.OWN_SERVICES, routes.OPERATIONS} <= set(shown)


async def test_callers_without_key_learn_that_newer_reflection_is_not_here(closed: Any) -> None:
    """Tools ask for v1 first, and for v1alpha when that is UNIMPLEMENTED."""
    method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert await closed.status(method) == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "gateway.example"])
def test_an_open_gateway_stays_on_loopback(host: str) -> None:
    with pytest.raises(Invalid, match="INGRAIN_REQUIRE_KEYS"):
        refuse_open_door(GatewaySettings(host=host))
    with pytest.raises(Invalid):
        refuse_open_door(GatewaySettings(host=host, allow_open="true"))
    refuse_open_door(GatewaySettings(host=host, require_keys=True))
    refuse_open_door(GatewaySettings(host=host, allow_open="yes"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "::1"])
def test_an_open_gateway_may_be_on_loopback(host: str) -> None:
    refuse_open_door(GatewaySettings(host=host))
