"""serve(): one gRPC server with health, reflection, interceptors and a graceful end."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit.interceptors import CallInterceptor, by_gateway
from servicekit.settings import ServiceSettings
from servicekit.telemetry import configure

OPTIONS = [
    ("grpc.so_reuseport", 0),  # two servers on one port would share its calls at random
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # clients may ping as often
    ("grpc.keepalive_permit_without_calls", 1),
]
Register = Callable[[grpc.aio.Server], list[str]]
Ready = Callable[[], Awaitable[bool]]


def new_server(settings: ServiceSettings, interceptors: Sequence[Any] | None = None) -> grpc.aio.Server:
    """Messages stay at gRPC's 4 MiB: what is bigger goes by streams and object storage."""
    token = settings.gateway_token.get_secret_value()
    return grpc.aio.server(
        interceptors=[CallInterceptor(by_gateway(token))] if interceptors is None else interceptors,
        options=OPTIONS,
        maximum_concurrent_rpcs=1024,
    )


async def serve(
    settings: ServiceSettings,
    name: str,
    register: Register,
    background: Sequence[Coroutine[Any, Any, None]] = (),
    ready: Ready | None = None,
) -> None:
    """Until SIGTERM or SIGINT: then NOT_SERVING, calls in flight end, background work hands over.

    `register` adds servicers and returns their full names. `ready` is asked until it says yes; health is SERVING from
    then on. A background coroutine that breaks ends the process, and whoever watches it starts it again.
    """
    configure(name, settings.log_level)
    server = new_server(settings)
    services = register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    await set_health(checks, services, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(coroutine) for coroutine in background]
    opening = asyncio.create_task(open_when_ready(checks, services, ready))
    print(json.dumps({"event": "serving", "service": name, "host": settings.host, "port": port}), flush=True)
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    opening.cancel()
    await checks.enter_graceful_shutdown()
    await server.stop(settings.drain_s)
    broken = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
    waiting.cancel()
    if broken:
        raise RuntimeError(f"{name}: background work broke") from broken[0].exception()


async def open_when_ready(
    checks: health.aio.HealthServicer, services: list[str], ready: Ready | None
) -> None:
    while ready is not None and not await ready():
        await asyncio.sleep(0.5)
    await set_health(checks, services, health_pb2.HealthCheckResponse.SERVING)


async def set_health(checks: health.aio.HealthServicer, services: list[str], status: int) -> None:
    for service in ("", *services):
        await checks.set(service, status)
