import pytest
from google.rpc import code_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain import errors as sdk
from servicekit import errors
from servicekit.interceptors import BrokenRules
from servicekit.statuses import to_status

# What a client's HTTP/2 takes of trailers by default, less than which everything must need.
TRAILER_BYTES = 8192


def trailer_bytes(status: status_pb2.Status) -> int:
    """The message percent-encoded and the status in base64, as gRPC sends them."""
    escaped = sum(1 if 0x20 <= byte < 0x7F and byte != 0x25 else 3 for byte in status.message.encode())
    return escaped + len(status.SerializeToString()) * 4 // 3


def test_a_domain_error_survives_the_way_to_the_client() -> None:
    error = errors.Exhausted("TOO_MANY", "5 of 5 in use", retry_after_s=0.25, limit=5)
    seen = sdk.from_status(to_status(error, "r-1"))
    assert isinstance(seen, sdk.Exhausted)
    assert (seen.reason, seen.message, seen.metadata) == ("TOO_MANY", "5 of 5 in use", {"limit": "5"})
    assert (seen.retry_after_s, seen.request_id) == (0.25, "r-1")


def test_an_error_of_another_service_is_passed_on_whole() -> None:
    cause = sdk.Invalid(
        "row 3",
        reason="BAD_ROW",
        metadata={"row": "3"},
        field_violations=[sdk.FieldViolation("rows[2]", "bad")],
    )
    for error in (cause, sdk.OperationFailed("projects/p/models/m/operations/o", cause)):
        seen = sdk.from_status(to_status(error))
        assert (type(seen), seen.reason, seen.metadata) == (sdk.Invalid, "BAD_ROW", {"row": "3"})
        assert seen.field_violations == cause.field_violations


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), KeyError("hunter2"), OSError(28, "hunter2")])
def test_a_surprise_says_nothing(error: Exception) -> None:
    status = to_status(error)
    assert status.code == code_pb2.INTERNAL
    assert "hunter2" not in str(status)


@settings(deadline=None, max_examples=60)
@given(st.text(), st.text(), st.integers(1, 3000), st.integers(1, 40))
def test_every_status_fits_into_trailers(message: str, field: str, times: int, fields: int) -> None:
    broken = BrokenRules([(f"{field}{i}" * times, message * times) for i in range(fields)])
    plain = errors.Invalid("R", message * times, field=field * times, a=message * times, b=field * times)
    for error in (broken, plain):
        assert trailer_bytes(to_status(error, "r" * 128)) < TRAILER_BYTES


def test_the_worst_text_fits() -> None:
    error = BrokenRules([("\U0001f600" * 400, "\U0001f600" * 400)] * 30)
    status = to_status(error, "r" * 128)
    assert trailer_bytes(status) < TRAILER_BYTES
    assert "characters)" in status.message


def test_what_a_person_would_write_is_not_cut() -> None:
    text = "a sentence of forty characters in plain. " * 30
    assert to_status(errors.Invalid("R", text, field="spec")).message == text


def test_characters_that_cannot_be_sent_are_replaced() -> None:
    assert to_status(errors.Invalid("R", "a\ud800b")).message == "a?b"
