"""The gateway's errors as this service's own."""

from collections.abc import Callable

import grpc

from ingrain import errors
from servicekit.errors import (
    AlreadyExists,
    Busy,
    DomainError,
    Exhausted,
    Invalid,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    WrongState,
)

_KINDS = {
    kind.code: kind
    for kind in (NotFound, AlreadyExists, WrongState, Busy, Exhausted, Unauthenticated, PermissionDenied)
}
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

ADVICE = "Mend it and create the study again: steps that are done will be reused."


def domain_error(error: errors.IngrainError) -> DomainError:
    """Of a call that failed. What passes by itself becomes Unavailable, upon which the study goes on later."""
    metadata = _metadata(error)
    if error.code in _PASSING:
        return Unavailable(
            "PLATFORM_UNAVAILABLE", str(error), retry_after_s=error.retry_after_s or 0.0, **metadata
        )
    return _permanent(error, error.reason or "CALL_FAILED", str(error), metadata)


def step_error(step_id: str, error: errors.OperationFailed) -> DomainError:
    """Of a step whose operation ended in an error: it has been retried where that made sense, so it is permanent."""
    metadata = {**_metadata(error), "step": step_id, "operation": error.operation}
    if isinstance(error, errors.OperationCancelled):
        return WrongState("STEP_CANCELLED", f"The step `{step_id}` was cancelled. {ADVICE}", **metadata)
    message = f"The step `{step_id}` failed: {str(error).rstrip('.')}. {ADVICE}"
    return _permanent(error, error.reason or "STEP_FAILED", message, metadata)


def _permanent(
    error: errors.IngrainError, reason: str, message: str, metadata: dict[str, str]
) -> DomainError:
    if error.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        field = error.field_violations[0].field if error.field_violations else ""
        return Invalid(reason, message, field=field, **metadata)
    kind: Callable[..., DomainError] = _KINDS.get(error.code, WrongState)
    return kind(reason, message, **metadata)


def _metadata(error: errors.IngrainError) -> dict[str, str]:
    """Without the names that the exceptions' own arguments have."""
    taken = ("reason", "message", "field", "retry_after_s")
    return {key: value for key, value in error.metadata.items() if key not in taken}
