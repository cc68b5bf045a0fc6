"""A grpc.aio channel that generated stubs can stand on, with what every call needs.

Each call gets the credentials, an `x-request-id`, a deadline where it is unary, and a `request_id` where the
request has that field empty, so that gRPC's retry after UNAVAILABLE never makes anything twice. Errors arrive
as `ingrain.errors`, also in the middle of a stream.

It wraps the channel instead of using grpc.aio's interceptors, which replace the call objects by others that do less.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from ingrain import errors, uploading
from ingrain.credentials import Credential
from ingrain.tls import TLS, credentials, wished

Metadata = Sequence[tuple[str, str]]

# No retry policy for these: of uploads see `uploading`; of a key made twice nobody would have the first one's secret.
_ONCE = [
    {"service": "ingrain.v1.Datasets", "method": "UploadDataset"},
    {"service": "ingrain.v1.Trainer", "method": "UploadModel"},
    {"service": "ingrain.v1.Trainer", "method": "UploadModelPart"},
    {"service": "ingrain.v1.Keys", "method": "CreateKey"},
]
# Four attempts within about two seconds; the token bucket stops retries where a server is down for long.
SERVICE_CONFIG = {
    "methodConfig": [
        {"name": _ONCE},
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.2},
}
OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # A ping every minute while calls are open finds dead peers; servers allow one every 10 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


class Channel:
    """What generated stubs need of a channel. Opened at the first call, so that it belongs to that loop."""

    def __init__(
        self,
        target: str,
        metadata: Metadata,
        timeout_s: float | None,
        tls: TLS | bool | str | Path | None,
        credential: Credential = str,
    ) -> None:
        """`credential` is asked for every call; what it gives goes as bearer, where it is not empty."""
        files = wished(tls)
        self.target = target
        self._metadata = tuple(metadata)
        self._timeout_s = timeout_s
        self._credential = credential
        self._credentials = credentials(files) if files else None
        self._channel: grpc.aio.Channel | None = None
        self._blocking: grpc.Channel | None = None

    @property
    def raw(self) -> grpc.aio.Channel:
        if self._channel is None:
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self.target, OPTIONS)
            else:
                self._channel = grpc.aio.secure_channel(self.target, self._credentials, OPTIONS)
        return self._channel

    @property
    def blocking(self) -> grpc.Channel:
        """For uploads."""
        if self._blocking is None:
            if self._credentials is None:
                self._blocking = grpc.insecure_channel(self.target, OPTIONS)
            else:
                self._blocking = grpc.secure_channel(self.target, self._credentials, OPTIONS)
        return self._blocking

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        blocking, self._blocking = self._blocking, None
        if blocking is not None:
            blocking.close()

    def unary_unary(self, path: str, **codec: Any) -> Callable[..., Any]:
        async def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
            sent, request_id = self._prepare(metadata)
            multicallable = self.raw.unary_unary(path, **codec)
            named = with_request_id(request)
            limit_s, begun = timeout or self._timeout_s, time.monotonic()
            try:
                rpc = multicallable(named, timeout=limit_s, metadata=sent)
                return await self._translated(rpc, request_id)
            except errors.Unauthenticated:
                renewed, _ = self._prepare((*metadata, (errors.REQUEST_ID_KEY, request_id)))
                if dict(renewed).get("authorization") == dict(sent).get("authorization"):
                    raise
                # gRPC's retries show what was shown first, which ended while they waited.
                left_s = limit_s and max(0.0, limit_s - (time.monotonic() - begun))
                rpc = multicallable(named, timeout=left_s, metadata=renewed)
                return await self._translated(rpc, request_id)

        return call

    def stream_unary(self, path: str, **codec: Any) -> Callable[..., Any]:
        async def call(requests: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
            sent, request_id = self._prepare(metadata)
            codec.pop("_registered_method", None)
            try:
                return await uploading.stream_unary(
                    self.blocking, path, requests, timeout=timeout, metadata=sent, **codec
                )
            except grpc.RpcError as error:
                raise errors.from_rpc_error(error, target=self.target, request_id=request_id) from None

        return call

    def unary_stream(self, path: str, **codec: Any) -> Callable[..., "Responses"]:
        def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Responses:
            sent, request_id = self._prepare(metadata)
            rpc = self.raw.unary_stream(path, **codec)(request, timeout=timeout, metadata=sent)
            return Responses(rpc, self.target, request_id)

        return call

    def stream_stream(self, path: str, **codec: Any) -> Callable[..., "Responses"]:
        def call(requests: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Responses:
            sent, request_id = self._prepare(metadata)
            rpc = self.raw.stream_stream(path, **codec)(_each(requests), timeout=timeout, metadata=sent)
            return Responses(rpc, self.target, request_id)

        return call

    def _prepare(self, metadata: Metadata) -> tuple[Metadata, str]:
        """Metadata to send and its request id; what is given with a call goes before the client's own."""
        shown = self._credential()
        own = [*([("authorization", f"Bearer {shown}")] if shown else []), *self._metadata]
        given = {key for key, _ in metadata}
        merged = [*metadata, *((key, value) for key, value in own if key not in given)]
        request_id = next((value for key, value in merged if key == errors.REQUEST_ID_KEY), "")
        if not request_id:
            request_id = uuid.uuid4().hex
            merged.append((errors.REQUEST_ID_KEY, request_id))
        return tuple(merged), request_id

    async def _translated(self, rpc: Any, request_id: str) -> Any:
        try:
            return await rpc
        except asyncio.CancelledError:
            _raise_if_closed()
            raise
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc_error(error, target=self.target, request_id=request_id) from None


class Responses:
    """The messages of a server's stream; raises `ingrain.errors`. `cancel()` ends it early."""

    def __init__(self, rpc: Any, target: str, request_id: str) -> None:
        self._rpc = rpc
        self._messages = rpc.__aiter__()
        self._target = target
        self._request_id = request_id
        self._cancelled = False

    def __aiter__(self) -> "Responses":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._messages.__anext__()
        except asyncio.CancelledError:
            if not self._cancelled:
                _raise_if_closed()
            raise
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc_error(error, target=self._target, request_id=self._request_id) from None

    def cancel(self) -> None:
        self._cancelled = True
        self._rpc.cancel()


def with_request_id(request: Any) -> Any:
    """The request itself, or a copy with a fresh id where it has an empty `request_id`."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id:
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = str(uuid.uuid4())
    return copy


def _raise_if_closed() -> None:
    """gRPC ends the calls of a channel that is closed as if their tasks had been cancelled, and a task that nobody
    cancelled would end without a word. Python 3.10 cannot tell who cancelled: there it stays like that."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    if cancelling is not None and not cancelling():
        raise errors.Cancelled("the client was closed while this call waited for its answer") from None


async def _each(requests: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
