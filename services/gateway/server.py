"""Puts the gateway together: own services, proxy for the rest, HTTP beside it, merged reflection, health of every backend."""

import asyncio
import json
import signal
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ingrain.v1 import projects_pb2, projects_pb2_grpc
from servicekit import inside, metrics
from servicekit.database import Database
from servicekit.errors import Invalid
from servicekit.interceptors import CallInterceptor
from servicekit.resources import Resources
from servicekit.server import OPTIONS, is_loopback
from servicekit.telemetry import configure
from services.gateway import routes
from services.gateway.auth import Authenticator, Digests
from services.gateway.callers import Callers
from services.gateway.health import MergedHealth
from services.gateway.http.app import HttpServer, build_app, listen, tls_context
from services.gateway.http.calls import Door
from services.gateway.limits import Limits
from services.gateway.projects import KeysServicer, ProjectsServicer, ensure_default
from services.gateway.proxy import Proxy
from services.gateway.settings import GatewaySettings
from services.gateway.tokens import Tokens

MOST_CALLS = 4096


class OwnServices(CallInterceptor):
    """Authenticates calls to the gateway's own services; the proxy does it for the others."""

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        if details.method.startswith(tuple(f"/{name}/" for name in routes.OWN_SERVICES)):
            return await super().intercept_service(continuation, details)
        return await continuation(details)


@dataclass(frozen=True)
class Gateway:
    """A bound server, and what ends with it."""

    server: grpc.aio.Server
    port: int
    checks: MergedHealth
    proxy: Proxy
    database: Database
    http: HttpServer | None = None

    async def stop(self, grace_s: float) -> None:
        """New calls are refused; those in flight have `grace_s` (over HTTP the settings' `drain_s`)."""
        self.checks.close()
        ending = [self.server.stop(grace_s)] + ([self.http.stop()] if self.http else [])
        await asyncio.gather(*ending)
        await self.proxy.close()
        await self.database.close()


async def build(settings: GatewaySettings) -> Gateway:
    refuse_open_door(settings)
    tls = credentials(settings)
    database = Database(settings.database_url, schema="gateway")
    projects = Resources(database, projects_pb2.Project, "projects")
    keys = Resources(database, projects_pb2.Key, "keys")
    digests = Digests(database)
    await database.create_all()
    await ensure_default(projects)
    authenticator = Authenticator(
        projects,
        keys,
        digests,
        service_token=settings.service_token.get_secret_value(),
        operator_token=settings.operator_token.get_secret_value(),
        open_door=not settings.require_keys,
        tokens=Tokens(settings.oidc) if settings.oidc else None,
    )
    callers = Callers(authenticator, Limits(settings.places()), settings.gateway_token.get_secret_value())
    proxy = Proxy(settings.backends(), callers, inside.files_of(settings))
    checks = MergedHealth(proxy)
    server = grpc.aio.server(
        interceptors=[OwnServices(authenticator.caller)], options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS
    )
    projects_pb2_grpc.add_ProjectsServicer_to_server(ProjectsServicer(projects), server)
    projects_pb2_grpc.add_KeysServicer_to_server(KeysServicer(projects, keys, digests, authenticator), server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (*routes.BACKEND_OF_SERVICE, *routes.OWN_SERVICES, routes.OPERATIONS)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    server.add_generic_rpc_handlers((proxy,))
    address = f"{settings.host}:{settings.port}"
    port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    http = await serve_http(settings, proxy, callers, checks)
    return Gateway(server, port, checks, proxy, database, http)


async def serve_http(
    settings: GatewaySettings, proxy: Proxy, callers: Callers, checks: MergedHealth
) -> HttpServer | None:
    if settings.http_port < 0:
        return None
    files = settings.tls_certificate, settings.tls_key
    tls = tls_context(*files) if files[0] and files[1] else None
    door = Door(
        proxy,
        callers,
        timeout_s=settings.http_timeout_s,
        is_open=not settings.require_keys,
        is_local=is_loopback(settings.host),
    )
    app = build_app(door, checks.is_serving)
    return await listen(app, settings.host, settings.http_port, tls, settings.drain_s)


def credentials(settings: GatewaySettings) -> grpc.ServerCredentials | None:
    """For TLS where a certificate and its key are set; one without the other is a mistake."""
    if not settings.tls_certificate and not settings.tls_key:
        return None
    if not settings.tls_certificate or not settings.tls_key:
        raise Invalid(
            "HALF_TLS",
            "INGRAIN_TLS_CERTIFICATE and INGRAIN_TLS_KEY belong together; set both or neither",
            field="tls_key",
        )
    return inside.server_credentials(inside.Files(settings.tls_key, settings.tls_certificate))


async def serve(settings: GatewaySettings) -> None:
    """Until SIGTERM or SIGINT; calls in flight end first."""
    configure("gateway", settings.log_level)
    gateway = await build(settings)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await gateway.server.start()
    serving = {"event": "serving", "service": "gateway", "host": settings.host, "port": gateway.port}
    scraped = metrics.serve(settings, "gateway")
    if scraped:
        serving["metrics"] = scraped.server_port
    if gateway.http:
        serving["http"] = (
            f"{'https' if settings.tls_key else 'http'}://{settings.host}:{gateway.http.port}/v1"
        )
    print(json.dumps(serving), flush=True)
    await stopping.wait()
    await gateway.stop(settings.drain_s)
    metrics.stop(scraped)


def refuse_open_door(settings: GatewaySettings) -> None:
    """A gateway that asks for no keys is for this machine alone, unless somebody says otherwise in words."""
    if not settings.require_keys and not is_loopback(settings.host) and settings.allow_open != "yes":
        raise Invalid(
            "OPEN_GATEWAY",
            f"the gateway would let everybody on {settings.host} in: set INGRAIN_REQUIRE_KEYS=true, or "
            "INGRAIN_ALLOW_OPEN=yes if that is meant",
            field="host",
        )
