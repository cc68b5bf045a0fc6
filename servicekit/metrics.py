"""What this process counts, for Prometheus: calls, operations, storage, tokens. Served on a port of its own where `metrics_port` is set.

Labels are names that stand in this repository (methods, verbs, states, reasons), so that their number is bounded: never an id, a project
or a caller's words. Times are in seconds.
"""

import functools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import ParamSpec, TypeVar
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from servicekit.errors import NotFound
from servicekit.operation_protos import ENDED
from servicekit.settings import ServiceSettings

P = ParamSpec("P")
T = TypeVar("T")
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # processor time, memory, open files

OF_CALLS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
OF_OPERATIONS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 604800.0)
STORAGE_OPERATIONS = ("put", "read", "stat", "list", "delete")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")

BUILD = Gauge("ingrain_build_info", "1; what runs here", ["service", "version"], registry=REGISTRY)
# OpenTelemetry's names and attributes.
CALLS = Histogram(
    "rpc_server_call_duration_seconds",
    "Calls answered",
    ["rpc_method", "rpc_response_status_code"],
    buckets=OF_CALLS_S,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("ingrain_calls_in_flight", "Calls being answered", ["rpc_method"], registry=REGISTRY)
REFUSALS = Counter(
    "ingrain_refusals", "Calls that ended in an error, by its reason", ["reason"], registry=REGISTRY
)
BACKLOG = Gauge(
    "ingrain_operations",
    "Operations in the service's table, the same in each of its pods",
    ["verb", "state"],  # queued, deferred (not to be begun yet), running, abandoned (its lease ran out)
    registry=REGISTRY,
)
OLDEST = Gauge(
    "ingrain_operation_oldest_queued_seconds",
    "How long the operation has waited that waits longest",
    ["verb"],
    registry=REGISTRY,
)
QUEUE_TIME = Histogram(
    "ingrain_operation_queue_seconds",
    "From the moment an operation could begin to its claim",
    ["verb"],
    buckets=OF_OPERATIONS_S,
    registry=REGISTRY,
)
DURATION = Histogram(
    "ingrain_operation_duration_seconds",
    "From an operation's creation to its end",
    ["verb", "state"],
    buckets=OF_OPERATIONS_S,
    registry=REGISTRY,
)
ATTEMPTS = Counter("ingrain_operation_attempts", "Claims by this process", ["verb"], registry=REGISTRY)
TAKEOVERS = Counter(
    "ingrain_operation_takeovers", "Claims of what another worker let go", ["verb"], registry=REGISTRY
)
LEASES_LOST = Counter(
    "ingrain_operation_leases_lost", "Attempts that lost their lease", ["verb"], registry=REGISTRY
)
STORAGE = Histogram(
    "ingrain_storage_call_duration_seconds",
    "Calls of the object storage; of streams the time in the storage alone",
    ["operation", "outcome"],  # ok, not_found, error
    buckets=OF_CALLS_S,
    registry=REGISTRY,
)
TOKENS = Counter(
    "ingrain_tokens",
    "Tokens of answered calls; input without what was cached",
    ["kind", "direction"],  # generate, score, context; input, cached, output
    registry=REGISTRY,
)


def serve(settings: ServiceSettings, service: str) -> WSGIServer | None:
    """In a thread of its own, at the service's host; None where the setting is not made. Holds nothing secret."""
    BUILD.labels(service, metadata.version("ingrain-platform")).set(1)
    if settings.metrics_port < 0:
        return None
    server, _ = start_http_server(settings.metrics_port, settings.host.strip("[]"), REGISTRY)
    return server


def stop(server: WSGIServer | None) -> None:
    if server is not None:
        server.shutdown()
        server.server_close()


def call_begun(method: str) -> float:
    """`method` is one that is there. Returns when it was, for `call_ended`."""
    IN_FLIGHT.labels(method).inc()
    return time.monotonic()


def call_ended(method: str, code: str, begun: float) -> None:
    IN_FLIGHT.labels(method).dec()
    CALLS.labels(method, code).observe(time.monotonic() - begun)


def refused(error: Exception) -> None:
    """By the error's own reason, which is no caller's word; what nobody foresaw is INTERNAL."""
    reason = getattr(error, "reason", "") or "INTERNAL"
    REFUSALS.labels(reason if _REASON.fullmatch(reason) else "OTHER").inc()


def expect_operations(verbs: Iterable[str]) -> None:
    """Counts begin at 0, not where they are first counted, so that their increase is seen."""
    for verb in verbs:
        for family in (QUEUE_TIME, ATTEMPTS, TAKEOVERS, LEASES_LOST):
            family.labels(verb)
        for state in ENDED:
            DURATION.labels(verb, state)


def operation_claimed(verb: str, waited_s: float, taken_over: bool) -> None:
    ATTEMPTS.labels(verb).inc()
    if taken_over:
        TAKEOVERS.labels(verb).inc()
    else:
        QUEUE_TIME.labels(verb).observe(max(0.0, waited_s))


def operation_ended(verb: str, state: str, seconds: float) -> None:
    DURATION.labels(verb, state).observe(max(0.0, seconds))


def expect_storage() -> None:
    for operation in STORAGE_OPERATIONS:
        for outcome in ("ok", "not_found", "error"):
            STORAGE.labels(operation, outcome)


def tokens(kind: str, *, read: int, cached: int, written: int) -> None:
    """`read`: those of prompts, cached ones included."""
    TOKENS.labels(kind, "input").inc(max(0, read - cached))
    TOKENS.labels(kind, "cached").inc(cached)
    TOKENS.labels(kind, "output").inc(written)


def timed_call(operation: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """For methods of storages."""

    def timed(fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(fn)
        async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            with _storage_call(operation):
                return await fn(*args, **kwargs)

        return wrapped

    return timed


def timed_stream(
    operation: str,
) -> Callable[[Callable[P, AsyncIterator[T]]], Callable[P, AsyncIterator[T]]]:
    """The same for those that yield; what the caller does between two pieces does not count."""

    def timed(fn: Callable[P, AsyncIterator[T]]) -> Callable[P, AsyncIterator[T]]:
        @functools.wraps(fn)
        async def wrapped(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            pieces = fn(*args, **kwargs)
            with _storage_call(operation) as watch:
                try:
                    async for piece in pieces:
                        watch.pause()
                        yield piece
                        watch.go_on()
                finally:
                    await pieces.aclose()  # type: ignore[attr-defined]

        return wrapped

    return timed


class _Watch:
    """Seconds, without its pauses."""

    def __init__(self) -> None:
        self._since: float | None = time.monotonic()
        self._seconds = 0.0

    def pause(self) -> None:
        self._seconds = self.seconds()
        self._since = None

    def go_on(self) -> None:
        self._since = time.monotonic()

    def seconds(self) -> float:
        return self._seconds + (time.monotonic() - self._since if self._since is not None else 0.0)


@contextmanager
def _storage_call(operation: str) -> Iterator[_Watch]:
    watch, outcome = _Watch(), "ok"
    try:
        yield watch
    except NotFound:
        outcome = "not_found"
        raise
    except Exception:  # what was broken off by the caller is no fault of the storage's
        outcome = "error"
        raise
    finally:
        STORAGE.labels(operation, outcome).observe(watch.seconds())
