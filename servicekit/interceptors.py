"""What every call to a service passes: who calls, is the request right, one log line, errors as statuses.

Errors are translated where a handler is iterated, not where it is called: a failure in the middle of a stream is
as much an answer as one at its start.
"""

import hmac
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import protovalidate
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from servicekit import identity
from servicekit.errors import (
    AlreadyExists,
    DomainError,
    Exhausted,
    Invalid,
    NotFound,
    Unauthenticated,
)

log = structlog.get_logger()
DOMAIN = "ingrain"
OPEN_SERVICES = ("/grpc.health.", "/grpc.reflection.")


Identify = Callable[[dict[str, Any]], Awaitable[identity.Caller]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """`identify` turns a call's metadata into its caller, or raises Unauthenticated."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_SERVICES):
            return handler
        call = _Call(self._identify, details.method)
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
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class _Call:
    """Wraps one method's behaviour in its four shapes."""

    def __init__(self, identify: Identify, method: str) -> None:
        self.identify = identify
        self.method = method

    def unary_unary(self, behaviour: Any) -> Any:
        async def wrapped(request: Message, context: grpc.aio.ServicerContext) -> Any:
            async with _Guard(self, context):
                return await behaviour(checked(request), context)

        return wrapped

    def unary_stream(self, behaviour: Any) -> Any:
        async def wrapped(request: Message, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with _Guard(self, context):
                async for response in behaviour(checked(request), context):
                    yield response

        return wrapped

    def stream_unary(self, behaviour: Any) -> Any:
        async def wrapped(requests: AsyncIterator[Message], context: grpc.aio.ServicerContext) -> Any:
            async with _Guard(self, context):
                return await behaviour(all_checked(requests), context)

        return wrapped

    def stream_stream(self, behaviour: Any) -> Any:
        async def wrapped(
            requests: AsyncIterator[Message], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Any]:
            async with _Guard(self, context):
                async for response in behaviour(all_checked(requests), context):
                    yield response

        return wrapped


class _Guard:
    """Around one call: identity before it, one log line and the status after it."""

    def __init__(self, call: _Call, context: grpc.aio.ServicerContext) -> None:
        self.call = call
        self.context = context
        self.started = time.monotonic()
        self.request_id = ""

    async def __aenter__(self) -> None:
        metadata: dict[str, Any] = dict(self.context.invocation_metadata() or ())  # type: ignore[arg-type]
        self.request_id = str(metadata.get(identity.REQUEST_ID) or uuid.uuid4().hex)
        try:
            identity.set_caller(await self.call.identify(metadata))
        except DomainError as error:
            await self._abort(error)

    async def __aexit__(self, kind: type | None, error: BaseException | None, _: object) -> bool:
        if error is None:
            self._log("OK")
        elif isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            await self._abort(error)
        elif not isinstance(error, grpc.aio.AbortError):
            self._log("CANCELLED")
        return False

    async def _abort(self, error: Exception) -> None:
        status = to_status(error)
        if not isinstance(error, DomainError):
            log.error("unexpected_error", method=self.call.method, request_id=self.request_id, exc_info=error)
        self._log(code_pb2.Code.Name(status.code), status.message)
        await self.context.abort_with_status(rpc_status.to_status(status))

    def _log(self, code: str, message: str = "") -> None:
        log.info(
            "call",
            method=self.call.method,
            code=code,
            ms=round((time.monotonic() - self.started) * 1000, 1),
            project=identity.caller().project,
            request_id=self.request_id,
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
    if not hmac.compare_digest(str(metadata.get(identity.GATEWAY_TOKEN, "")), gateway_token):
        raise Unauthenticated("NOT_THE_GATEWAY", "services answer only to the gateway; call its address")
    return identity.Caller(
        kind=str(metadata.get(identity.CALLER_KIND, "user")),
        id=str(metadata.get(identity.CALLER_ID, "")),
        project=str(metadata.get(identity.CALLER_PROJECT, "")),
        read_only=metadata.get(identity.CALLER_READ_ONLY) == "true",
    )


def checked(request: Message) -> Message:
    """The request, or Invalid with every rule of the protos that it breaks."""
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


def to_status(error: Exception) -> status_pb2.Status:
    """A domain error, or an SDK error from another service, with its details; anything else is INTERNAL and says nothing."""
    from ingrain.errors import IngrainError, OperationFailed

    if isinstance(error, OperationFailed):
        return to_status(error.cause)
    if isinstance(error, IngrainError):
        return _from_sdk(error)
    if not isinstance(error, DomainError):
        return status_pb2.Status(
            code=code_pb2.INTERNAL, message="internal error; the service's log has its cause"
        )
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if isinstance(error, Invalid) and error.field:
        bad = error_details_pb2.BadRequest()
        for field, text in getattr(error, "violations", [(error.field, error.message)]):
            bad.field_violations.add(field=field, description=text)
        _add(status, bad)
    if isinstance(error, Exhausted) and error.retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        _add(status, retry)
    if isinstance(error, NotFound | AlreadyExists) and "resource" in error.metadata:
        _add(status, error_details_pb2.ResourceInfo(resource_name=error.metadata["resource"]))
    return status


def _from_sdk(error: Any) -> status_pb2.Status:
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if error.field_violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.field_violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        _add(status, bad)
    return status


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
