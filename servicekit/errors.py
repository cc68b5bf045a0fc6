"""Domain exceptions.

    DomainError
     |- Invalid            INVALID_ARGUMENT     a field or row is wrong
     |- NotFound           NOT_FOUND            no such resource (or not yours)
     |- AlreadyExists      ALREADY_EXISTS       the name is taken
     |- WrongState         FAILED_PRECONDITION  not now: another state is needed first
     |- Busy               ABORTED              somebody else is at it
     |- Exhausted          RESOURCE_EXHAUSTED   a limit was reached
     |- Unavailable        UNAVAILABLE          try again
     |- Unauthenticated    UNAUTHENTICATED      who are you
     |- PermissionDenied   PERMISSION_DENIED    you may not

Domain code raises them; `servicekit.interceptors` is the only place that knows gRPC statuses. `reason` is
UPPER_SNAKE; each number in the message is also in `metadata`.
"""

import grpc


class DomainError(Exception):
    """Base. `message` tells a person what to do; `reason` and `metadata` tell a program."""

    code = grpc.StatusCode.INTERNAL

    def __init__(self, reason: str, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


class Invalid(DomainError):
    """A request, row or file is wrong. `field` is its path, e.g. `spec.model` or `rows[17].answer`."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, reason: str, message: str, field: str = "", **metadata: object) -> None:
        super().__init__(reason, message, **metadata)
        self.field = field


class NotFound(DomainError):
    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(DomainError):
    code = grpc.StatusCode.ALREADY_EXISTS


class WrongState(DomainError):
    code = grpc.StatusCode.FAILED_PRECONDITION


class Busy(DomainError):
    code = grpc.StatusCode.ABORTED


class Exhausted(DomainError):
    """`retry_after_s` becomes a RetryInfo."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, reason: str, message: str, retry_after_s: float = 0.0, **metadata: object) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_after_s = retry_after_s


class Unavailable(Exhausted):
    code = grpc.StatusCode.UNAVAILABLE


class Unauthenticated(DomainError):
    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(DomainError):
    code = grpc.StatusCode.PERMISSION_DENIED
