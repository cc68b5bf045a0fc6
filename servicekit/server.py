"""serve(): one gRPC server with health, reflection, interceptors and a graceful end."""

import asyncio
import ipaddress
import json
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit import inside, metrics
from servicekit.errors import Invalid
from servicekit.interceptors import CallInterceptor, by_gateway
from servicekit.settings import ServiceSettings
from servicekit.telemetry import configure

# Messages stay at gRPC's 4 MiB: what is bigger goes by streams and object storage.
OPTIONS = [
    ("grpc.so_reuseport", 0),  # two servers on one port would share its calls at random
    ("grpc.keepalive_time_ms", 30_000),  # a peer that vanished is noticed in 40 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # clients may ping as often
    ("grpc.keepalive_permit_without_calls", 1),
]
# Calls wait in the event loop, not in threads; what is heavy has narrower limits of its own.
MOST_CALLS = 1024
DRAIN_POLL_S = 0.05
Register = Callable[[grpc.aio.Server], list[str]]
Ready = Callable[[], Awaitable[bool]]
log = structlog.get_logger()


def new_server(settings: ServiceSettings, interceptors: Sequence[Any] | None = None) -> grpc.aio.Server:
    """A server with everything but its services; `serve` adds health and reflection."""
    if interceptors is None:
        interceptors = [CallInterceptor(by_gateway(settings.gateway_token.get_secret_value()))]
    return grpc.aio.server(interceptors=interceptors, options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)


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
    refuse_open_service(settings)
    calls = CallInterceptor(by_gateway(settings.gateway_token.get_secret_value()))
    server = new_server(settings, [calls])
    services = register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    files = inside.files_of(settings)
    address = f"{settings.host}:{settings.port}"
    port = (
        server.add_secure_port(address, inside.server_credentials(files))
        if files
        else server.add_insecure_port(address)
    )
    await set_health(checks, services, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.start()
    probed = await serve_health(settings, checks)
    scraped = metrics.serve(settings, name)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    serving = {"event": "serving", "service": name, "host": settings.host, "port": port}
    if scraped:
        serving["metrics"] = scraped.server_port
    print(json.dumps(serving), flush=True)
    tasks = [asyncio.create_task(coroutine) for coroutine in background]
    opening = asyncio.create_task(open_when_ready(checks, services, ready))
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    log.info("draining", in_flight=calls.in_flight)
    broken = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
    for task in (opening, waiting):
        task.cancel()
    await checks.enter_graceful_shutdown()
    # Together, so that a call that waits for background work is not waited for in vain.
    await asyncio.gather(drain(server, calls, settings.drain_s), hand_over(tasks))
    if probed:
        await probed.stop(0)
    metrics.stop(scraped)
    if broken:
        raise RuntimeError(f"{name}: background work broke") from broken[0].exception()


async def serve_health(
    settings: ServiceSettings, checks: health.aio.HealthServicer
) -> grpc.aio.Server | None:
    """A port of its own for probes that speak no TLS, as Kubernetes' gRPC probes."""
    if settings.health_port < 0:
        return None
    server = grpc.aio.server(options=OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(f"{settings.host}:{settings.health_port}")
    await server.start()
    return server


async def drain(server: grpc.aio.Server, calls: CallInterceptor, grace_s: float) -> None:
    """New calls are refused at once; those in flight have `grace_s`. Watchers of health, who never leave, have none."""
    stopped = asyncio.ensure_future(server.stop(grace_s))
    while calls.in_flight and not stopped.done():
        await asyncio.sleep(DRAIN_POLL_S)
    await server.stop(DRAIN_POLL_S)
    await stopped


async def hand_over(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(error, Exception):
            log.error("background_broke", exc_info=error)


def refuse_open_service(settings: ServiceSettings) -> None:
    """A service without gateway token believes whatever a caller says about himself: for this machine alone."""
    if not is_loopback(settings.host) and not settings.gateway_token.get_secret_value():
        raise Invalid(
            "OPEN_SERVICE",
            f"a service that listens on {settings.host} needs INGRAIN_GATEWAY_TOKEN, the gateway's proof of itself",
            field="gateway_token",
        )


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False


async def open_when_ready(
    checks: health.aio.HealthServicer, services: list[str], ready: Ready | None
) -> None:
    while ready is not None:
        try:
            if await ready():
                break
        except Exception as error:
            log.warning("not_ready", error=repr(error))
        await asyncio.sleep(0.5)
    await set_health(checks, services, health_pb2.HealthCheckResponse.SERVING)


async def set_health(checks: health.aio.HealthServicer, services: list[str], status: int) -> None:
    for service in ("", *services):
        await checks.set(service, status)
