"""Statuses become exceptions without losing anything, and nothing that a server sends breaks the translation."""

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from ingrain import errors

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
TEXT = st.text(max_size=40)


def rpc_error(
    code: grpc.StatusCode, details: str, trailing: list[tuple[str, str | bytes]]
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


@given(
    code=st.sampled_from(CODES),
    message=TEXT,
    reason=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=4),
    violations=st.lists(st.tuples(TEXT, TEXT), max_size=4),
    retry_s=st.none() | st.integers(0, 3600),
)
def test_every_status_survives(code, message, reason, metadata, violations, retry_s) -> None:
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="ingrain", metadata=metadata))
    bad = error_details_pb2.BadRequest()
    for field, description in violations:
        bad.field_violations.add(field=field, description=description)
    status.details.add().Pack(bad)
    if retry_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(retry_s)
        status.details.add().Pack(retry)
    sent = rpc_error(
        code, message, [(errors.DETAILS_KEY, status.SerializeToString()), ("x-request-id", "r1")]
    )

    error = errors.from_rpc_error(sent)

    assert error.code is code
    assert (error.reason, error.metadata, error.retry_after_s) == (reason, metadata, retry_s)
    assert list(error.field_violations) == violations
    assert error.message == message or not message
    assert error.request_id == "r1"
    assert isinstance(str(error), str)


@given(code=st.sampled_from(CODES), raw=st.binary(max_size=200), details=TEXT)
def test_garbage_in_details_still_gives_the_code(code, raw, details) -> None:
    error = errors.from_rpc_error(rpc_error(code, details, [(errors.DETAILS_KEY, raw)]))
    assert isinstance(error, errors.IngrainError)
    assert error.code is code


def test_broken_detail_inside_a_good_status_is_passed_over() -> None:
    status = status_pb2.Status(code=5, message="gone")
    url = "type.googleapis.com/google.rpc.ErrorInfo"
    status.details.append(any_pb2.Any(type_url=url, value=b"\xff\xff\xff"))
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/unknown.Thing", value=b"x"))
    error = errors.from_status(status, operation="o")
    assert (type(error), error.message, error.reason, error.operation) == (errors.NotFound, "gone", "", "o")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", errors.Invalid),
        ("OUT_OF_RANGE", errors.Invalid),
        ("NOT_FOUND", errors.NotFound),
        ("ALREADY_EXISTS", errors.AlreadyExists),
        ("FAILED_PRECONDITION", errors.WrongState),
        ("ABORTED", errors.Busy),
        ("RESOURCE_EXHAUSTED", errors.Exhausted),
        ("UNAVAILABLE", errors.Unavailable),
        ("UNAUTHENTICATED", errors.Unauthenticated),
        ("PERMISSION_DENIED", errors.PermissionDenied),
        ("DEADLINE_EXCEEDED", errors.DeadlineExceeded),
        ("CANCELLED", errors.Cancelled),
        ("UNIMPLEMENTED", errors.Unsupported),
        ("DATA_LOSS", errors.Internal),
        ("UNKNOWN", errors.Internal),
    ],
)
def test_tree(code: str, kind: type) -> None:
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode[code], "said", []))
    assert type(error) is kind
    assert error.message == "said"


def test_unreachable_says_what_to_do() -> None:
    raw = (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
        "Failed to connect to remote host: connect: Connection refused (111)"
    )
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, raw, []), target="here:1")
    assert "here:1" in str(error)
    assert "ingrain up" in str(error)
    assert "last error" not in str(error)


def test_a_message_over_the_limit_says_what_to_do() -> None:
    raw = "SERVER: Received message larger than max (5000027 vs. 4194304)"
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, raw, []))
    assert type(error) is errors.Exhausted
    assert error.reason == "MESSAGE_TOO_LARGE"
    assert error.metadata == {"size_bytes": "5000027", "limit_bytes": "4194304"}
    assert "several calls" in str(error)
    assert error.retry_after_s is None


def test_a_call_that_a_stopping_server_ended_may_be_tried_again() -> None:
    ended = errors.from_rpc_error(rpc_error(grpc.StatusCode.CANCELLED, "CANCELLED", []), target="here:1")
    assert type(ended) is errors.Unavailable
    assert ended.code is grpc.StatusCode.UNAVAILABLE
    own = rpc_error(grpc.StatusCode.CANCELLED, "Locally cancelled by application!", [])
    assert type(errors.from_rpc_error(own, target="here:1")) is errors.Cancelled
    status = status_pb2.Status(code=1, message="an operator stopped it")
    told = rpc_error(grpc.StatusCode.CANCELLED, "x", [(errors.DETAILS_KEY, status.SerializeToString())])
    assert type(errors.from_rpc_error(told, target="here:1")) is errors.Cancelled


def test_unavailable_with_details_is_the_platforms_own_word() -> None:
    status = status_pb2.Status(code=14, message="the trainer restarts")
    sent = rpc_error(grpc.StatusCode.UNAVAILABLE, "x", [(errors.DETAILS_KEY, status.SerializeToString())])
    assert str(errors.from_rpc_error(sent, target="here:1")) == "the trainer restarts"


def test_text_names_each_field_once() -> None:
    violation = errors.FieldViolation("rows[17].answer", "is no choice")
    assert str(errors.Invalid("rows[17].answer is no choice", field_violations=[violation])) == (
        "rows[17].answer is no choice"
    )
    assert str(errors.Invalid("a row is wrong", field_violations=[violation])) == (
        "a row is wrong (rows[17].answer: is no choice)"
    )


def test_failed_operation_repeats_its_cause() -> None:
    cause = errors.WrongState("no workers", reason="NO_RAY", metadata={"workers": "0"})
    failed = errors.OperationFailed("projects/p/models/m/operations/o", cause)
    assert (failed.code, failed.reason, failed.metadata) == (cause.code, "NO_RAY", {"workers": "0"})
    assert failed.operation == "projects/p/models/m/operations/o"
