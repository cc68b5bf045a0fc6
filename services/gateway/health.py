"""grpc.health.v1 for every service at one address: "" is the gateway, a service's name is its backend."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from servicekit.operations import happens
from services.gateway import routes
from services.gateway.proxy import Proxy

WATCH_S = 1.0
CHECK_TIMEOUT_S = 2.0


class MergedHealth(health_pb2_grpc.HealthServicer):
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Nothing is SERVING from here on, and watchers, who never leave by themselves, are let go."""
        self._closing.set()

    async def is_serving(self, service: str) -> bool:
        return await self._status(service) == pb.HealthCheckResponse.SERVING

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        status = await self._status(request.service)
        if status == pb.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"{request.service!r} is no service of this platform"
            )
        return pb.HealthCheckResponse(status=status)

    async def Watch(
        self, request: pb.HealthCheckRequest, context: Any
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        last = None
        while True:
            closing = self._closing.is_set()
            status = await self._status(request.service)
            if status != last:
                yield pb.HealthCheckResponse(status=status)
                last = status
            if closing:
                return
            await happens(self._closing, WATCH_S)

    async def _status(self, service: str) -> int:
        if self._closing.is_set():
            return pb.HealthCheckResponse.NOT_SERVING
        if service in ("", routes.OPERATIONS, *routes.OWN_SERVICES):
            return pb.HealthCheckResponse.SERVING
        if service not in routes.BACKEND_OF_SERVICE:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        stub = health_pb2_grpc.HealthStub(self._proxy.channel(routes.BACKEND_OF_SERVICE[service]))
        try:
            answer = await stub.Check(pb.HealthCheckRequest(service=service), timeout=CHECK_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return pb.HealthCheckResponse.NOT_SERVING
        return answer.status
