"""Puts the gateway together: own services, proxy for the rest, merged reflection, health of every backend."""

import asyncio
import ipaddress
import json
import signal

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ingrain.v1 import projects_pb2, projects_pb2_grpc
from servicekit.database import Database
from servicekit.errors import Invalid
from servicekit.interceptors import CallInterceptor
from servicekit.resources import Resources
from servicekit.server import OPTIONS
from servicekit.telemetry import configure
from services.gateway import routes
from services.gateway.auth import Authenticator, Digests
from services.gateway.health import MergedHealth
from services.gateway.limits import Limits
from services.gateway.projects import KeysServicer, ProjectsServicer, ensure_default
from services.gateway.proxy import Proxy
from services.gateway.settings import GatewaySettings


class OwnServices(CallInterceptor):
    """Authenticates calls to the gateway's own services; the proxy does it for the others."""

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        if details.method.startswith(tuple(f"/{name}/" for name in routes.OWN_SERVICES)):
            return await super().intercept_service(continuation, details)
        return await continuation(details)


async def build(settings: GatewaySettings) -> tuple[grpc.aio.Server, int, Proxy, Database]:
    """A bound server, its port, and what to close after it."""
    refuse_open_door(settings)
    database = Database(settings.database_url, schema="gateway")
    projects = Resources(database, projects_pb2.Project, "projects")
    keys = Resources(database, projects_pb2.Key, "keys")
    digests = Digests(database)
    await database.create_all()
    await ensure_default(projects)
    authenticator = Authenticator(
        keys, digests, settings.service_token.get_secret_value(), open_door=not settings.require_keys
    )
    limits = Limits(settings.project_concurrency, settings.nested_concurrency, settings.queue_s)
    proxy = Proxy(settings.backends(), authenticator, limits, settings.gateway_token.get_secret_value())
    server = grpc.aio.server(
        interceptors=[OwnServices(authenticator.caller)], options=OPTIONS, maximum_concurrent_rpcs=4096
    )
    projects_pb2_grpc.add_ProjectsServicer_to_server(ProjectsServicer(projects), server)
    projects_pb2_grpc.add_KeysServicer_to_server(KeysServicer(projects, keys, digests), server)
    health_pb2_grpc.add_HealthServicer_to_server(MergedHealth(proxy), server)
    names = (*routes.BACKEND_OF_SERVICE, *routes.OWN_SERVICES, routes.OPERATIONS)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    server.add_generic_rpc_handlers((proxy,))
    address = f"{settings.host}:{settings.port}"
    if settings.tls_certificate and settings.tls_key:
        pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(address)
    return server, port, proxy, database


async def serve(settings: GatewaySettings) -> None:
    """Until SIGTERM or SIGINT; calls in flight end first."""
    configure("gateway", settings.log_level)
    server, port, proxy, database = await build(settings)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await server.start()
    print(
        json.dumps({"event": "serving", "service": "gateway", "host": settings.host, "port": port}),
        flush=True,
    )
    await stopping.wait()
    await server.stop(settings.drain_s)
    await proxy.close()
    await database.close()


def refuse_open_door(settings: GatewaySettings) -> None:
    """A gateway that asks for no keys is for this machine alone, unless somebody says otherwise in words."""
    loopback = settings.host == "localhost" or ipaddress.ip_address(settings.host).is_loopback
    if not settings.require_keys and not loopback and settings.allow_open != "yes":
        raise Invalid(
            "OPEN_GATEWAY",
            f"the gateway would let everybody on {settings.host} in: set INGRAIN_REQUIRE_KEYS=true, or "
            "INGRAIN_ALLOW_OPEN=yes if that is meant",
            field="host",
        )
