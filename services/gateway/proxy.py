"""Forwards any method as bytes: unary calls and streams, details of errors, deadlines and cancellation alike.

To gRPC every method can be served as stream-stream, at the price of more events than a unary call needs; so only those that stream
are. The gateway reads no message but those of Operations, whose name says where they belong.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import structlog
from google.rpc import code_pb2
from grpc_status import rpc_status

from ingrain import uploading
from servicekit import identity, inside, metrics
from servicekit.errors import DomainError, Unavailable
from servicekit.interceptors import code_name, to_status
from services.gateway import routes
from services.gateway.callers import Callers

log = structlog.get_logger()
Metadata = Sequence[tuple[str, Any]]
DEADLINE_MARGIN_S = 0.05
UNKNOWN = "unknown"  # in metrics: what callers make up is no label
# grpc.aio ends the requests of a cancelled call as if the caller had sent all, and cancels the handler just after; the
# backend must not take half an upload for a whole one.
END_SETTLES_S = 0.02
# Hop-by-hop or ours to set; everything else passes.
_NOT_PASSED = ("authorization", "user-agent", "te", "content-type", identity.REQUEST_ID)
_NOT_PASSED_PREFIXES = ("ingrain-", "grpc-")
_PASSED_TRAILERS = ("grpc-status-details-bin",)
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class Proxy(grpc.GenericRpcHandler):
    def __init__(self, backends: dict[str, str], callers: Callers, files: inside.Files | None = None) -> None:
        """`files`: what is shown to backends, which must show the like."""
        self._addresses = backends
        self._credentials = inside.channel_credentials(files.read()) if files else None
        self._callers = callers
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._upload_channels: dict[str, grpc.Channel] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        path = details.method

        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            async with self._admitted(path, context) as (method, metadata):
                backend = routes.backend_of(method, request)
                call = self.channel(backend).unary_unary(path)(
                    request, timeout=_left_s(context), metadata=metadata
                )
                try:
                    response: bytes = await call
                    return response
                except grpc.aio.AioRpcError as error:
                    return await self._fail(context, backend, error)
                finally:
                    call.cancel()

        async def forward(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            async with self._admitted(path, context) as (method, metadata):
                async for response in self._forward(method, requests, context, metadata):
                    yield response

        known = routes.METHODS.get(path)
        if known and known.unary:
            return grpc.unary_unary_rpc_method_handler(answer)
        return grpc.stream_stream_rpc_method_handler(forward)

    @asynccontextmanager
    async def _admitted(
        self, path: str, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[tuple[routes.Method, Metadata]]:
        """Who calls has a place, and the backend is told who it is; refusals and what goes wrong are answered."""
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        request_id = headers.get(identity.REQUEST_ID) or uuid.uuid4().hex
        counted = path if path in routes.METHODS else UNKNOWN
        begun, code = metrics.call_begun(counted), "OK"
        try:
            method = routes.find(path)
            async with self._callers.admitted(method, headers) as caller:
                yield method, self._metadata(context, caller, request_id)
        except grpc.aio.AbortError:  # the backend's own answer
            code = code_name(context.code())
            raise
        except Exception as error:
            metrics.refused(error)
            code = code_pb2.Code.Name(to_status(error).code)
            if isinstance(error, DomainError):
                log.info("refused", method=path, reason=error.reason, request_id=request_id)
            else:
                log.error("unexpected_error", method=path, request_id=request_id, exc_info=error)
            await context.abort_with_status(rpc_status.to_status(to_status(error, request_id)))
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            metrics.call_ended(counted, code, begun)

    async def _forward(
        self,
        method: routes.Method,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext,
        metadata: Metadata,
    ) -> AsyncIterator[bytes]:
        first = await anext(aiter(requests), None)
        backend = routes.backend_of(method, first)
        timeout_s = _left_s(context)
        if method.uploads:
            try:
                yield await uploading.stream_unary(
                    self.upload_channel(backend),
                    method.path,
                    _joined(first, requests, settle_s=END_SETTLES_S),
                    timeout=timeout_s,
                    metadata=metadata,
                )
            except grpc.RpcError as error:
                await self._fail(context, backend, error)
            return
        call = self.channel(backend).stream_stream(method.path)(
            _joined(first, requests), timeout=timeout_s, metadata=metadata
        )
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            await self._fail(context, backend, error)
        finally:
            call.cancel()

    async def _fail(self, context: grpc.aio.ServicerContext, backend: str, error: Any) -> NoReturn:
        trailers = tuple((k, v) for k, v in error.trailing_metadata() or () if k in _PASSED_TRAILERS)
        if error.code() == grpc.StatusCode.UNAVAILABLE and not trailers:
            raise unreachable(backend)
        await context.abort(error.code(), error.details() or "", trailers)
        raise AssertionError("abort raises")

    def _metadata(
        self, context: grpc.aio.ServicerContext, caller: identity.Caller, request_id: str
    ) -> Metadata:
        passed = [
            (key, value)
            for key, value in context.invocation_metadata() or ()
            if key not in _NOT_PASSED and not key.startswith(_NOT_PASSED_PREFIXES)
        ]
        return [*passed, *self._callers.metadata(caller, request_id)]

    def channel(self, backend: str) -> grpc.aio.Channel:
        if backend not in self._channels:
            address = self._addresses[backend]
            self._channels[backend] = (
                grpc.aio.secure_channel(address, self._credentials, CHANNEL_OPTIONS)
                if self._credentials
                else grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
            )
        return self._channels[backend]

    def upload_channel(self, backend: str) -> grpc.Channel:
        """grpc.aio would lose the status of uploads that are refused half way; see `ingrain.uploading`."""
        if backend not in self._upload_channels:
            address = self._addresses[backend]
            self._upload_channels[backend] = (
                grpc.secure_channel(address, self._credentials, CHANNEL_OPTIONS)
                if self._credentials
                else grpc.insecure_channel(address, CHANNEL_OPTIONS)
            )
        return self._upload_channels[backend]

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        for channel in self._upload_channels.values():
            channel.close()


def _left_s(context: grpc.aio.ServicerContext) -> float | None:
    left_s = context.time_remaining()
    return None if left_s is None else max(0.001, left_s - DEADLINE_MARGIN_S)


def unreachable(backend: str) -> Unavailable:
    return Unavailable(
        "SERVICE_UNAVAILABLE",
        f"{backend} cannot be reached; it may be starting, try again",
        retry_after_s=1.0,
    )


async def _joined(
    first: bytes | None, rest: AsyncIterator[bytes], settle_s: float = 0.0
) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
        async for message in rest:
            yield message
    await asyncio.sleep(settle_s)
