"""The HTTP server: routes, TLS, start and graceful end."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from servicekit.inside import Files, Renewed
from services.gateway import routes
from services.gateway.http.batches import BatchesHandler
from services.gateway.http.calls import Door, guarded, name_request
from services.gateway.http.chat import ChatHandler
from services.gateway.http.completions import CompletionsHandler
from services.gateway.http.files import FilesHandler
from services.gateway.http.models import ModelsHandler

GREATEST_BODY_BYTES = 8 << 20
KEEP_ALIVE_S = 75.0  # of idle connections
ServesNow = Callable[[str], Awaitable[bool]]  # by a service's name; "": the gateway itself


def build_app(door: Door, serves: ServesNow) -> web.Application:
    app = web.Application(middlewares=[guarded], client_max_size=GREATEST_BODY_BYTES)
    app.on_response_prepare.append(name_request)
    models, health = ModelsHandler(door), Health(serves)
    app.router.add_post("/v1/completions", CompletionsHandler(door).create)
    app.router.add_post("/v1/chat/completions", ChatHandler(door).create)
    app.router.add_get("/v1/models", models.list, allow_head=False)
    app.router.add_get("/v1/models/{model:.+}", models.get, allow_head=False)
    files, batches = FilesHandler(door), BatchesHandler(door)
    app.router.add_post("/v1/files", files.create)
    app.router.add_get("/v1/files/{file}", files.get, allow_head=False)
    app.router.add_delete("/v1/files/{file}", files.delete)
    app.router.add_get("/v1/files/{file}/content", files.content, allow_head=False)
    app.router.add_post("/v1/batches", batches.create)
    app.router.add_get("/v1/batches", batches.list, allow_head=False)
    app.router.add_get("/v1/batches/{batch}", batches.get, allow_head=False)
    app.router.add_post("/v1/batches/{batch}/cancel", batches.cancel)
    app.router.add_get("/healthz", health.alive)
    app.router.add_get("/readyz", health.ready)
    return app


class Health:
    """For probes, without credentials."""

    def __init__(self, serves: ServesNow) -> None:
        self._serves = serves

    async def alive(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(self, request: web.Request) -> web.Response:
        """503 from the moment that the gateway stops. Services behind it are told and do not decide: what they cannot
        answer is answered by an error that says so."""
        ready = await self._serves("")
        names = list(routes.BACKEND_OF_SERVICE) if ready else []
        serving = await asyncio.gather(*(self._serves(name) for name in names))
        services = dict(zip(names, serving, strict=True))
        body = {"status": "ready" if ready else "stopping", "services": services}
        return web.json_response(body, status=200 if ready else 503)


@dataclass(frozen=True)
class HttpServer:
    runner: web.AppRunner
    port: int

    async def stop(self) -> None:
        """No new connections; calls in flight have the grace that `listen` was given."""
        await self.runner.cleanup()


async def listen(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None, grace_s: float
) -> HttpServer:
    """A caller who hangs up ends the call, here and behind."""
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=grace_s,
        handle_signals=False,
    )
    await runner.setup()
    site = web.TCPSite(runner, host.strip("[]"), port, ssl_context=tls, reuse_port=False)
    await site.start()
    return HttpServer(runner, runner.addresses[0][1])


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Each handshake has the certificate as the files are by then."""
    read = Renewed(Files(key, certificate))
    first = _loaded(certificate, key)
    current = first

    def choose(connection: ssl.SSLObject, server_name: str | None, context: ssl.SSLContext) -> None:
        nonlocal current
        if read.again() is not None:
            current = _loaded(certificate, key)
        connection.context = current

    first.sni_callback = choose
    return first


def _loaded(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
