"""What each HTTP call passes: a request id, the caller's place, errors in OpenAI's form, one log line."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from ingrain.errors import IngrainError
from servicekit import identity, metrics
from servicekit.errors import DomainError, PermissionDenied
from servicekit.server import is_loopback
from services.gateway import routes
from services.gateway.callers import Callers
from services.gateway.http.backends import Asked
from services.gateway.http.errors import ParamOf, Problem, problem_of, problem_of_http
from services.gateway.http.names import PROJECT_HEADER, parent_of
from services.gateway.proxy import Proxy

log = structlog.get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
QUIET = ("/healthz", "/readyz")
UNKNOWN = "unknown"  # a route that is not there
REQUEST_ID = web.RequestKey("request_id", str)
PROJECT = web.RequestKey("project", str)
PARAM_OF = web.RequestKey("param_of", object)
BROKE = web.RequestKey("broke", Problem)  # an error after the status was sent


@dataclass(frozen=True)
class Door:
    """Where HTTP calls come in. `is_open`: callers without a key are let in; `is_local`: it listens to this machine alone."""

    proxy: Proxy
    callers: Callers
    timeout_s: float
    is_open: bool
    is_local: bool

    @asynccontextmanager
    async def admitted(self, request: web.Request, path: str) -> AsyncIterator[Asked]:
        """A place for the call as long as it lasts; `path` is the gRPC method whose right it needs."""
        if self.is_open:
            refuse_browsers(request, self.is_local)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.is_open and not is_key(headers.get("authorization", "")):
            headers.pop("authorization", None)
        async with self.callers.admitted(routes.find(path), headers) as caller:
            request[PROJECT] = caller.project
            yield Asked(
                self.proxy,
                caller,
                parent_of(caller, request.headers.get(PROJECT_HEADER)),
                tuple(self.callers.metadata(caller, request[REQUEST_ID])),
                time.monotonic() + self.timeout_s,
            )


def is_key(authorization: str) -> bool:
    """OpenAI's clients must have a key; where none is needed they are given any word."""
    return authorization.partition(" ")[2].startswith("ingrain_")


def refuse_browsers(request: web.Request, is_local: bool) -> None:
    """Where no key is needed, a page of the web must not ask by its reader's browser, whatever name leads here."""
    host = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    if "Origin" in request.headers or (is_local and not is_loopback(host or request.host)):
        raise PermissionDenied(
            "NO_BROWSERS", "without keys pages of the web may not ask; set INGRAIN_REQUIRE_KEYS=true"
        )


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    counted = f"{request.method} {_route(request)}" if _route(request) != UNKNOWN else UNKNOWN
    started = metrics.call_begun(counted)
    request[REQUEST_ID] = _request_id(request)
    structlog.contextvars.bind_contextvars(request_id=request[REQUEST_ID])
    status, code, message = 499, "CANCELLED", ""
    try:
        try:
            response = await handler(request)
            status, code = response.status, "OK"
        except Exception as error:
            metrics.refused(error)
            problem = described(request, error)
            response = problem.response()
            status, code, message = problem.status, problem.gateway_code, problem.message
        if (broke := request.get(BROKE)) is not None:
            code, message = broke.gateway_code, broke.message
        return response
    finally:
        metrics.call_ended(counted, code, started)
        if request.path not in QUIET:
            log.info(
                "call",
                method=f"{request.method} {_route(request)}",
                status=status,
                code=code,
                ms=round((time.monotonic() - started) * 1000, 1),
                project=request.get(PROJECT, ""),
                **({"message": message} if message else {}),
            )


def described(request: web.Request, error: Exception) -> Problem:
    """What the caller is told; what nobody expected goes to the log."""
    if isinstance(error, web.HTTPException):
        return problem_of_http(error)
    if not isinstance(error, DomainError | IngrainError):
        log.error("unexpected_error", method=f"{request.method} {_route(request)}", exc_info=error)
    param_of: ParamOf = request.get(PARAM_OF, str)  # type: ignore[assignment]
    return problem_of(error, param_of)


async def name_request(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer says which request it answers."""
    response.headers["X-Request-Id"] = request.get(REQUEST_ID, "")


def _request_id(request: web.Request) -> str:
    given = request.headers.get(identity.REQUEST_ID, "")[:128]
    return given if given and given.isascii() and given.isprintable() else uuid.uuid4().hex


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else UNKNOWN
