"""Errors of the platform as OpenAI's: `{"error": {"message", "type", "param", "code"}}` with an HTTP status."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from aiohttp import web

from ingrain import errors as sdk_errors
from servicekit.errors import DomainError
from servicekit.statuses import to_status

ParamOf = Callable[[str], str]
INVALID, SERVER = "invalid_request_error", "server_error"
# Status and type by gRPC's code; every other code is the platform's own fault.
_KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, INVALID),
    grpc.StatusCode.OUT_OF_RANGE: (400, INVALID),
    grpc.StatusCode.FAILED_PRECONDITION: (400, INVALID),
    grpc.StatusCode.UNAUTHENTICATED: (401, "authentication_error"),
    grpc.StatusCode.PERMISSION_DENIED: (403, "permission_error"),
    grpc.StatusCode.NOT_FOUND: (404, INVALID),
    grpc.StatusCode.ALREADY_EXISTS: (409, INVALID),
    grpc.StatusCode.ABORTED: (409, INVALID),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "rate_limit_error"),
    grpc.StatusCode.CANCELLED: (499, SERVER),
    grpc.StatusCode.UNIMPLEMENTED: (501, SERVER),
    grpc.StatusCode.UNAVAILABLE: (503, SERVER),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, SERVER),
}
# What clients know by another word.
_CODES = {
    "BAD_KEY": "invalid_api_key",
    "NO_CREDENTIALS": "invalid_api_key",
    "KEY_REVOKED": "invalid_api_key",
    "KEY_EXPIRED": "invalid_api_key",
    "PROMPT_TOO_LONG": "context_length_exceeded",
    "CONTEXT_TOO_LONG": "context_length_exceeded",
    "TOO_MANY_CALLS": "rate_limit_exceeded",
}
TOO_LARGE = "MESSAGE_TOO_LARGE"


@dataclass(frozen=True)
class Problem:
    """What a caller is told. `gateway_code` is the gRPC code's name, for the log."""

    status: int
    message: str
    type: str
    param: str | None
    code: str | None
    gateway_code: str
    retry_after_s: float | None = None

    def body(self) -> dict[str, Any]:
        told = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": told}

    def response(self) -> web.Response:
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        elif self.status == 429:
            headers["X-Should-Retry"] = (
                "false"  # OpenAI's clients try again unless told; waiting does not help
            )
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.json_response(self.body(), status=self.status, headers=headers)


def problem_of(error: Exception, param_of: ParamOf = str) -> Problem:
    """Of a domain error, whose field is the caller's own word; of a backend's, whose field `param_of` translates; of
    anything else it says nothing but that it happened."""
    own = isinstance(error, DomainError)
    known = error if isinstance(error, sdk_errors.IngrainError) else sdk_errors.from_status(to_status(error))
    status, kind = _KINDS.get(known.code, (500, SERVER))
    fields = [violation.field for violation in known.field_violations]
    param = (fields[0] if own else param_of(fields[0])) if fields else None
    code = _CODES.get(known.reason, known.reason.lower()) or None
    if known.reason == TOO_LARGE:  # a smaller one will do, the same one never
        status, kind = 413, INVALID
    if status == 404 and not own and param_of("model") == "model":
        param, code = _missing(known.metadata.get("resource", ""))
    retry = known.retry_after_s if status in (429, 503) else None
    if status == 503 and retry is None:
        retry = 1.0
    return Problem(status, known.message, kind, param, code, known.code.name, retry)


def _missing(resource: str) -> tuple[str, str]:
    """All that a model's name leads to is asked for by `model`."""
    return ("context", "context_not_found") if "/contexts/" in resource else ("model", "model_not_found")


def problem_of_http(error: web.HTTPException) -> Problem:
    """Of what the HTTP server refuses by itself."""
    if error.status == 413:
        message = "the body is too big; send fewer prompts at once, and long documents as a dataset"
        return Problem(413, message, INVALID, None, TOO_LARGE.lower(), "RESOURCE_EXHAUSTED")
    if error.status == 404:
        message = "there is no such address here; docs/http.md lists what there is"
        return Problem(404, message, INVALID, None, "unknown_url", "UNIMPLEMENTED")
    if error.status == 405:
        allowed = ", ".join(sorted(getattr(error, "allowed_methods", ())))
        return Problem(
            405, f"this address takes {allowed}", INVALID, None, "method_not_allowed", "UNIMPLEMENTED"
        )
    return Problem(error.status, error.reason, INVALID, None, None, "INVALID_ARGUMENT")
