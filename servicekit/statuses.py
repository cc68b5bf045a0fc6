"""Errors as google.rpc.Status: code, sentence, and details that a program can read."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ingrain.errors import IngrainError, OperationFailed
from servicekit.errors import AlreadyExists, DomainError, Exhausted, NotFound

DOMAIN = "ingrain"
# A status travels in HTTP/2 trailers, twice, and clients take 8 KiB of them: a longer one would be lost whole.
MOST_MESSAGE_CHARACTERS = 1200
MOST_DETAIL_CHARACTERS = 300
MOST_VIOLATIONS = 8


def to_status(error: Exception, request_id: str = "") -> status_pb2.Status:
    """A domain error, or an SDK error from another service, with its details; anything else is INTERNAL and says nothing."""
    if isinstance(error, OperationFailed):
        return to_status(error.cause, request_id)
    if not isinstance(error, DomainError | IngrainError):
        status = status_pb2.Status(
            code=code_pb2.INTERNAL, message="internal error; the service's log has its cause"
        )
    else:
        status = status_pb2.Status(
            code=error.code.value[0], message=cut(error.message, MOST_MESSAGE_CHARACTERS)
        )
        metadata = {
            key: cut(value, MOST_DETAIL_CHARACTERS) for key, value in list(error.metadata.items())[:16]
        }
        _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
        _add_bad_request(status, violations_of(error))
        if isinstance(error, Exhausted) and error.retry_after_s:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(error.retry_after_s * 1e9))
            _add(status, retry)
        if isinstance(error, NotFound | AlreadyExists) and "resource" in metadata:
            _add(status, error_details_pb2.ResourceInfo(resource_name=metadata["resource"]))
    if request_id:
        _add(status, error_details_pb2.RequestInfo(request_id=request_id))
    return status


def violations_of(error: Any) -> list[tuple[str, str]]:
    """(field, what is wrong with it)."""
    if isinstance(error, IngrainError):
        return [(violation.field, violation.description) for violation in error.field_violations]
    if violations := getattr(error, "violations", None):
        return list(violations)
    field = getattr(error, "field", "")
    return [(field, error.message)] if field else []


def cut(text: str, most: int) -> str:
    """At most `most` characters; a cut says so. Characters that cannot be sent are replaced."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 30]}... ({len(text)} characters)"


def _add_bad_request(status: status_pb2.Status, violations: list[tuple[str, str]]) -> None:
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, text in violations[:MOST_VIOLATIONS]:
            bad.field_violations.add(
                field=cut(field, MOST_DETAIL_CHARACTERS), description=cut(text, MOST_DETAIL_CHARACTERS)
            )
        _add(status, bad)


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
