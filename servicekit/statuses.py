"""Errors as google.rpc.Status: code, sentence, and details that a program can read."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ingrain.errors import IngrainError, OperationFailed
from servicekit.errors import AlreadyExists, DomainError, Exhausted, NotFound

DOMAIN = "ingrain"
# A status travels in HTTP/2 trailers, of which clients take 8 KiB; a longer one would be lost whole. The message goes
# twice, once percent-encoded (three bytes for all but ASCII), and everything else in base64.
MESSAGE_BUDGET = 3200
METADATA_BUDGET = 1200
VIOLATIONS_BUDGET = 1800
MOST_DETAIL_BYTES = 240


def to_status(error: Exception, request_id: str = "") -> status_pb2.Status:
    """A domain error, or an SDK error from another service, with its details; anything else is INTERNAL and says nothing."""
    if isinstance(error, OperationFailed):
        return to_status(error.cause, request_id)
    if not isinstance(error, DomainError | IngrainError):
        status = status_pb2.Status(
            code=code_pb2.INTERNAL, message="internal error; the service's log has its cause"
        )
    else:
        status = status_pb2.Status(code=error.code.value[0], message=sendable_message(error.message))
        metadata = dict(fitting(error.metadata.items(), METADATA_BUDGET))
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


def sendable_message(text: str) -> str:
    ascii_bytes = sum(character.isascii() for character in text)
    cost = ascii_bytes * (1 + 4 / 3) + (len(text.encode("utf-8", "replace")) - ascii_bytes) * (3 + 4 / 3)
    return cut(text, int(len(text.encode("utf-8", "replace")) * min(1.0, MESSAGE_BUDGET / max(cost, 1.0))))


def fitting(pairs: Iterable[tuple[str, str]], budget: int) -> Iterator[tuple[str, str]]:
    """The first pairs of texts that go into `budget` bytes, each cut to what a person reads."""
    for one, other in pairs:
        one, other = cut(one, MOST_DETAIL_BYTES), cut(other, MOST_DETAIL_BYTES)
        budget -= len(one.encode()) + len(other.encode()) + 16
        if budget < 0:
            return
        yield one, other


def cut(text: str, most_bytes: int) -> str:
    """At most `most_bytes` of UTF-8; a cut says so. Characters that cannot be sent are replaced."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most_bytes:
        return raw.decode()
    return raw[: max(0, most_bytes - 40)].decode("utf-8", "ignore") + f"... ({len(text)} characters)"


def _add_bad_request(status: status_pb2.Status, violations: list[tuple[str, str]]) -> None:
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, text in fitting(violations, VIOLATIONS_BUDGET):
            bad.field_violations.add(field=field, description=text)
        _add(status, bad)


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
