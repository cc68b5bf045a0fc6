"""Which errors end an operation, and what its reader is told of the others."""

import pytest

from ingrain import errors as sdk
from servicekit import errors
from servicekit.worker import cause_of, is_permanent

FAILED = sdk.OperationFailed("projects/p/models/m/operations/o", sdk.Unavailable("gone"))


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (errors.Invalid("R", "m"), True),
        (errors.NotFound("R", "m"), True),
        (errors.WrongState("R", "m"), True),
        (errors.Exhausted("R", "m"), True),  # a limit that waiting does not lift
        (errors.Exhausted("R", "m", retry_after_s=1.0), False),
        (errors.Unavailable("R", "m"), False),
        (RuntimeError("m"), False),
        (sdk.Invalid("m"), True),
        (sdk.Unavailable("m"), False),
        (sdk.DeadlineExceeded("m"), False),
        (sdk.Internal("m"), False),
        (sdk.Exhausted("m"), True),
        (sdk.Exhausted("m", retry_after_s=1.0), False),
        (FAILED, True),  # the child has made its own attempts
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, permanent: bool) -> None:
    assert is_permanent(error) is permanent


def test_causes_tell_what_was_meant_to_be_told() -> None:
    assert cause_of(errors.Unavailable("AWAY", "try again")) == "AWAY: try again"
    assert cause_of(sdk.Unavailable("try again")) == "UNAVAILABLE: try again"
    assert cause_of(RuntimeError("hunter2")) == "unexpected RuntimeError"
