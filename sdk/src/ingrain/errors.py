"""Everything that this package raises.

    IngrainError
     |- Invalid             INVALID_ARGUMENT, OUT_OF_RANGE   the request is wrong; see field_violations
     |- NotFound            NOT_FOUND                        no such resource, or not yours
     |- AlreadyExists       ALREADY_EXISTS                   the name is taken
     |- WrongState          FAILED_PRECONDITION              not now: another state is needed first
     |- Busy                ABORTED                          somebody else is at it
     |- Exhausted           RESOURCE_EXHAUSTED               a limit was reached; see retry_after_s
     |- Unavailable         UNAVAILABLE                      the platform cannot be reached; try again
     |- Unauthenticated     UNAUTHENTICATED                  the API key is missing or wrong
     |- PermissionDenied    PERMISSION_DENIED                you may not
     |- DeadlineExceeded    DEADLINE_EXCEEDED                it took too long
     |- Cancelled           CANCELLED                        it was cancelled
     |- Unsupported         UNIMPLEMENTED                    this platform has no such method
     |- Internal            every other code                 the platform's own fault
     |- OperationFailed     any                              a long operation ended in an error; see cause
         |- OperationCancelled  CANCELLED                    a long operation was cancelled
    Detached (KeyboardInterrupt)                             Ctrl-C while waiting; the operation goes on

`code` is the gRPC status, `reason` an UPPER_SNAKE word for programs, `message` a sentence for people.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from ingrain import tls

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
# How gRPC itself words UNAVAILABLE, as against a server's own word.
_LOCAL = re.compile(r"failed to connect|last error|dns|socket closed|connection|handshake", re.IGNORECASE)
_TOO_LARGE = re.compile(r"larger than max \((\d+) vs\. (\d+)\)")


class FieldViolation(NamedTuple):
    """`field` is a path like `rows[17].answer`, `description` says what is wrong with it."""

    field: str
    description: str


class IngrainError(Exception):
    """Base. `metadata` holds the numbers that the message quotes; ids are empty where not known."""

    code = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        request_id: str = "",
        operation: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.operation = operation

    def __str__(self) -> str:
        missing = [v for v in self.field_violations if v.field not in self.message]
        told = [v.field if v.description in self.message else f"{v.field}: {v.description}" for v in missing]
        return self.message + (f" ({'; '.join(told)})" if told else "")


class Invalid(IngrainError):
    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(IngrainError):
    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(IngrainError):
    code = grpc.StatusCode.ALREADY_EXISTS


class WrongState(IngrainError):
    code = grpc.StatusCode.FAILED_PRECONDITION


class Busy(IngrainError):
    code = grpc.StatusCode.ABORTED


class Exhausted(IngrainError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(IngrainError):
    code = grpc.StatusCode.UNAVAILABLE


class Unauthenticated(IngrainError):
    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(IngrainError):
    code = grpc.StatusCode.PERMISSION_DENIED


class DeadlineExceeded(IngrainError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(IngrainError):
    code = grpc.StatusCode.CANCELLED


class Unsupported(IngrainError):
    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(IngrainError):
    code = grpc.StatusCode.INTERNAL


class OperationFailed(IngrainError):
    """A long operation ended in `cause`, whose fields this error repeats."""

    def __init__(self, operation: str, cause: IngrainError) -> None:
        super().__init__(
            cause.message,
            code=cause.code,
            reason=cause.reason,
            metadata=cause.metadata,
            field_violations=cause.field_violations,
            retry_after_s=cause.retry_after_s,
            request_id=cause.request_id,
            operation=operation,
        )
        self.cause = cause


class OperationCancelled(OperationFailed):
    pass


class Detached(KeyboardInterrupt):
    """Ctrl-C ended the waiting, not the work."""

    def __init__(self, operation: str) -> None:
        again = f"client.operations.get({operation!r}).result()"
        super().__init__(f"{operation} goes on; wait for it again with {again}")
        self.operation = operation


_BY_CODE = {
    kind.code: kind
    for kind in (
        Invalid, NotFound, AlreadyExists, WrongState, Busy, Exhausted, Unavailable, Unauthenticated,
        PermissionDenied, DeadlineExceeded, Cancelled, Unsupported, Internal,
    )
}  # fmt: skip
_BY_CODE[grpc.StatusCode.OUT_OF_RANGE] = Invalid
_CODE_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def from_status(status: status_pb2.Status, *, request_id: str = "", operation: str = "") -> IngrainError:
    """The exception for a `google.rpc.Status`; details of unknown types are passed over."""
    code = _CODE_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    info = _detail(status.details, error_details_pb2.ErrorInfo)
    bad = _detail(status.details, error_details_pb2.BadRequest)
    retry = _detail(status.details, error_details_pb2.RetryInfo)
    request = _detail(status.details, error_details_pb2.RequestInfo)
    return _BY_CODE.get(code, Internal)(
        status.message or code.name.replace("_", " ").lower(),
        code=code,
        reason=info.reason if info else "",
        metadata=info.metadata if info else {},
        field_violations=[
            FieldViolation(v.field, v.description) for v in (bad.field_violations if bad else ())
        ],
        retry_after_s=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry else None,
        request_id=request.request_id if request and request.request_id else request_id,
        operation=operation,
    )


def from_rpc_error(error: Any, *, target: str = "", request_id: str = "") -> IngrainError:
    """The exception for a failed call, of grpc.aio or grpc; `target` is named when it could not be reached."""
    trailing = dict([*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())])
    request_id = str(trailing.get(REQUEST_ID_KEY, request_id))
    status = status_pb2.Status()
    raw = trailing.get(DETAILS_KEY)
    if isinstance(raw, bytes) and _parses(status, raw) and status.code == error.code().value[0]:
        return from_status(status, request_id=request_id)
    message = error.details() or error.code().name.replace("_", " ").lower()
    # gRPC calls a certificate for another name UNAUTHENTICATED, which is about keys here.
    refused = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
    if target and refused and (handshake := tls.explain(message, target)):
        return Unavailable(handshake, request_id=request_id)
    if error.code() is grpc.StatusCode.UNAVAILABLE and target and _LOCAL.search(message):
        message = f"cannot reach Ingrain at {target} ({_short(message)}); `ingrain up` starts it"
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and (sizes := _TOO_LARGE.search(message)):
        size, limit = sizes.groups()
        message = (
            f"a message of {size} bytes does not fit the limit of {limit}; ask for less at once, in several calls, and "
            "send documents as a data set, which is uploaded in pieces"
        )
        numbers = {"size_bytes": size, "limit_bytes": limit}
        return Exhausted(message, reason="MESSAGE_TOO_LARGE", metadata=numbers, request_id=request_id)
    if error.code() is grpc.StatusCode.CANCELLED and target and "ocally cancelled" not in message:
        # Not by the caller: a server that stops ends like this what is still in its hands.
        return Unavailable(f"{target} ended the call before its answer; try again", request_id=request_id)
    return _BY_CODE.get(error.code(), Internal)(message, code=error.code(), request_id=request_id)


def _detail(details: Sequence[any_pb2.Any], kind: Any) -> Any:
    for packed in details:
        if packed.Is(kind.DESCRIPTOR) and _parses(message := kind(), packed.value):
            return message
    return None


def _parses(message: Any, raw: bytes) -> bool:
    try:
        message.ParseFromString(raw)
    except Exception:  # protobuf implementations raise different DecodeErrors
        return False
    return True


def _short(details: str) -> str:
    """gRPC's connection errors repeat the address several times; the last part says why."""
    return details.rsplit("last error: ", 1)[-1].split(": ", 2)[-1][:120].strip() or "no answer"
