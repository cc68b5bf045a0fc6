"""What every call to a service passes: who calls, is the request right, one log line, errors as statuses.

Errors are translated where a handler is iterated, not where it is called: a failure in the middle of a stream is
as much an answer as one at its start.
"""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import protovalidate
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2
from grpc_status import rpc_status

from servicekit import identity, metrics
from servicekit.errors import Invalid, Unauthenticated
from servicekit.statuses import to_status

__all__ = ["BrokenRules", "CallInterceptor", "Identify", "by_gateway", "caller_from", "checked", "to_status"]

log = structlog.get_logger()
OPEN_SERVICES = ("/grpc.health.", "/grpc.reflection.")


Identify = Callable[[dict[str, Any]], Awaitable[identity.Caller]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """`identify` turns a call's metadata into its caller, or raises Unauthenticated."""

    def __init__(self, identify: Identify) -> None:
        self.identify = identify
        self.in_flight = 0  # calls that are being answered; health and reflection do not count

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_SERVICES):
            return handler
        call = _Call(self, details.method)
        make = {
            (False, False): (grpc.unary_unary_rpc_method_handler, call.unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, call.unary_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, call.stream_unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, call.stream_stream),
        }[(handler.request_streaming, handler.response_streaming)]
        behaviour = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        return make[0](
            make[1](behaviour),
            request_deserializer=_read_by(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


class _Call:
    """Wraps one method's behaviour in its four shapes."""

    def __init__(self, interceptor: CallInterceptor, method: str) -> None:
        self.interceptor = interceptor
        self.method = method

    def unary_unary(self, behaviour: Any) -> Any:
        async def wrapped(request: Message, context: grpc.aio.ServicerContext) -> Any:
            async with guarded(self.interceptor, self.method, context):
                return await behaviour(checked(request), context)

        return wrapped

    def unary_stream(self, behaviour: Any) -> Any:
        async def wrapped(request: Message, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with guarded(self.interceptor, self.method, context):
                async for response in behaviour(checked(request), context):
                    yield response

        return wrapped

    def stream_unary(self, behaviour: Any) -> Any:
        async def wrapped(requests: AsyncIterator[Message], context: grpc.aio.ServicerContext) -> Any:
            async with guarded(self.interceptor, self.method, context):
                return await behaviour(all_checked(requests), context)

        return wrapped

    def stream_stream(self, behaviour: Any) -> Any:
        async def wrapped(
            requests: AsyncIterator[Message], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Any]:
            async with guarded(self.interceptor, self.method, context):
                async for response in behaviour(all_checked(requests), context):
                    yield response

        return wrapped


@asynccontextmanager
async def guarded(
    interceptor: CallInterceptor, method: str, context: grpc.aio.ServicerContext
) -> AsyncIterator[None]:
    """Around one call: identity before it, its status and one log line after it."""
    started = metrics.call_begun(method)
    metadata: dict[str, Any] = dict(context.invocation_metadata() or ())  # type: ignore[arg-type]
    request_id = str(metadata.get(identity.REQUEST_ID) or uuid.uuid4().hex)[:128]
    structlog.contextvars.bind_contextvars(request_id=request_id)
    code, message = "OK", ""
    interceptor.in_flight += 1
    try:
        identity.set_caller(await interceptor.identify(metadata))
        yield
    except grpc.aio.AbortError:  # by the handler itself
        code, message = code_name(context.code()), context.details()
        raise
    except Exception as error:
        metrics.refused(error)
        status = to_status(error, request_id)
        code, message = code_pb2.Code.Name(status.code), status.message
        if status.code == code_pb2.INTERNAL:
            log.error("unexpected_error", method=method, exc_info=error)
        await context.abort_with_status(rpc_status.to_status(status))
    except BaseException:  # the caller went away, its deadline passed, or this process ends
        code = "CANCELLED"
        raise
    finally:
        interceptor.in_flight -= 1
        metrics.call_ended(method, code, started)
        log.info(
            "call",
            method=method,
            code=code,
            ms=round((time.monotonic() - started) * 1000, 1),
            project=identity.caller().project,
            **({"message": message} if message else {}),
        )


def by_gateway(gateway_token: str) -> Identify:
    """The caller is who the gateway says. An empty token, as in tests, lets a call without identity in as operator."""

    async def identify(metadata: dict[str, Any]) -> identity.Caller:
        if not gateway_token and identity.CALLER_KIND not in metadata:
            return identity.OPERATOR
        return caller_from(metadata, gateway_token)

    return identify


def caller_from(metadata: dict[str, Any], gateway_token: str) -> identity.Caller:
    shown = str(metadata.get(identity.GATEWAY_TOKEN, ""))
    if not identity.is_one_of(shown, gateway_token):
        raise Unauthenticated("NOT_THE_GATEWAY", "services answer only to the gateway; call its address")
    return identity.Caller(
        kind=str(metadata.get(identity.CALLER_KIND, "user")),
        id=str(metadata.get(identity.CALLER_ID, "")),
        project=str(metadata.get(identity.CALLER_PROJECT, "")),
        read_only=metadata.get(identity.CALLER_READ_ONLY) == "true",
    )


def _read_by(deserializer: Callable[[bytes], Message]) -> Callable[[bytes], Message | DecodeError]:
    """What does not parse is handed on as the error that it is, for the call to be refused with details."""

    def read(raw: bytes) -> Message | DecodeError:
        try:
            return deserializer(raw)
        except DecodeError as error:
            return error

    return read


def checked(request: Message | DecodeError) -> Message:
    """The request, or Invalid with every rule of the protos that it breaks."""
    if isinstance(request, DecodeError):
        raise Invalid("BAD_MESSAGE", "the request does not parse as its message")
    violations = protovalidate.collect_violations(request)
    if violations:
        raise BrokenRules([(field_path(v), v.proto.message) for v in violations])
    return request


async def all_checked(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        yield checked(request)


class BrokenRules(Invalid):
    def __init__(self, violations: list[tuple[str, str]]) -> None:
        text = "; ".join(f"{field}: {description}" for field, description in violations)
        super().__init__("INVALID_REQUEST", text, field=violations[0][0])
        self.violations = violations


def field_path(violation: Any) -> str:
    """E.g. `items[3].choices`."""
    parts = []
    for element in violation.proto.field.elements:
        subscript = element.subscript
        parts.append(element.field_name + (f"[{subscript.value}]" if subscript else ""))
    return ".".join(parts)


def code_name(code: Any) -> str:
    """grpc.aio gives a number where a peer's status was passed on, and a StatusCode elsewhere."""
    return code.name if isinstance(code, grpc.StatusCode) else code_pb2.Code.Name(int(code or 0))
