"""What every call to the fake passes, as at the platform: who calls, is the request right, errors as statuses."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError, Message

from buf.validate import validate_pb2
from ingrain.testing.rules import violations
from ingrain.testing.store import Refused, StatusOf, Store, bad_name, not_found
from ingrain.v1 import projects_pb2

HEALTH = "/grpc.health.v1.Health/"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING)
_MOST_NAME_CHARACTERS = 255
_ASKING = {f"/ingrain.v1.Inference/{name}" for name in ("Generate", "StreamGenerate", "Score", "CountTokens")}
_READING = {
    f"/google.longrunning.Operations/{name}Operation{s}"
    for name, s in (("Get", ""), ("Wait", ""), ("List", "s"))
}
KEY_PREFIX = "ingrain_"
_KEYS = "/ingrain.v1.Keys/"
_NAMING = ("name", "model", "target")  # fields that hold names and have no rule that says so
_Scope = projects_pb2.Key.Scope


class Health(grpc.GenericRpcHandler):
    """grpc.health.v1: whatever is asked for is SERVING."""

    def service(self, details: Any) -> Any:
        if not details.method.startswith(HEALTH):
            return None
        return grpc.unary_stream_rpc_method_handler(lambda request, context: iter([_SERVING]))


class Guard(grpc.ServerInterceptor):
    """Lets in who has a key where one is asked for, and turns Refused into a status with details."""

    def __init__(self, store: Store, api_key: str) -> None:
        self.store = store
        self._api_key = api_key

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        if details.method.startswith(HEALTH):
            return continuation(details)
        handler = continuation(details)
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(self._unknown(details.method))
        call = _Call(self, details.method, handler)
        shape = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        make = getattr(grpc, f"{shape}_rpc_method_handler")
        behaviour = call.streamed if handler.response_streaming else call.answered
        return make(behaviour, _read_by(handler.request_deserializer), handler.response_serializer)

    def project_of_caller(self, method: str, metadata: dict[str, Any]) -> str:
        """The one project that may be seen; empty: all of them."""
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        if not scheme and self._api_key:
            raise _stranger("NO_CREDENTIALS", "send an API key as `authorization: Bearer <key>`")
        if not scheme or (scheme.lower() == "bearer" and token == self._api_key != ""):
            return ""
        if not self._api_key and not token.startswith(KEY_PREFIX):
            return ""  # as where an identity provider is trusted: whose token it is, nobody looks here
        key = self.store.keys.get(token)
        if scheme.lower() != "bearer" or key is None:
            raise _stranger("BAD_KEY", "the API key is not known here")
        if key.HasField("revoke_time"):
            raise _stranger("KEY_REVOKED", f"{key.name} was revoked; ask for a new key")
        if key.HasField("expire_time") and key.expire_time.ToSeconds() <= time.time():
            raise _stranger("KEY_EXPIRED", f"{key.name} has expired; ask for a new key")
        _permit(key, method)
        return str(key.name.rpartition("/keys/")[0])

    @contextmanager
    def answering(self, method: str, context: Any) -> Iterator[str]:
        """Around a call: gives the project that its caller may see, and answers refusals."""
        metadata = dict(context.invocation_metadata())
        try:
            yield self.project_of_caller(method, metadata)
        except Refused as refused:
            request_id = str(metadata.get("x-request-id") or uuid.uuid4().hex)
            context.abort_with_status(StatusOf(refused.answer(request_id)))

    def _unknown(self, method: str) -> Any:
        def refuse(requests: Any, context: Any) -> Iterator[bytes]:
            with self.answering(method, context):
                raise Refused(
                    "UNIMPLEMENTED",
                    "UNKNOWN_METHOD",
                    f"{method} is no method of this platform",
                    method=method,
                )
            yield b""

        return refuse


class _Call:
    """Wraps one method."""

    def __init__(self, guard: Guard, path: str, handler: Any) -> None:
        self._guard, self._path, self._streams = guard, path, handler.request_streaming
        self._method = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )

    def answered(self, request: Any, context: Any) -> Any:
        with self._guard.answering(self._path, context) as project:
            answer = self._method(self._checked(request, project), context)
            with self._guard.store.changed:  # what is sent no longer changes
                sent = type(answer)()
                sent.CopyFrom(answer)
            return sent

    def streamed(self, request: Any, context: Any) -> Iterator[Any]:
        with self._guard.answering(self._path, context) as project:
            yield from self._method(self._checked(request, project), context)

    def _checked(self, request: Any, project: str) -> Any:
        if self._streams:
            return (checked(one, project) for one in request)
        return checked(request, project)


def checked(request: Any, project: str) -> Any:
    """The request, if it keeps the protos' rules and names nothing of another project."""
    if isinstance(request, DecodeError):
        raise Refused("INVALID_ARGUMENT", "BAD_MESSAGE", "the request does not parse")
    if found := violations(request):
        text = "; ".join(f"{field}: {description}" for field, description in found)
        raise Refused("INVALID_ARGUMENT", "INVALID_REQUEST", text, violations=found)
    for name in _names_in(request):
        if not name.isprintable() or len(name) > _MOST_NAME_CHARACTERS:
            raise bad_name(f"a resource name has at most {_MOST_NAME_CHARACTERS} printable characters")
        if project and "/".join(name.split("/")[:2]) != project:
            raise not_found(name)
    return request


def _names_in(message: Message) -> Iterator[str]:
    """All full names of resources, at any depth."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        pattern = field.GetOptions().Extensions[validate_pb2.field].string.pattern
        names = pattern.startswith("^projects/") or field.name in _NAMING
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from _names_in(one)
            elif names and one.startswith("projects/"):
                yield one


def _permit(key: projects_pb2.Key, path: str) -> None:
    options = descriptor_pool.Default().FindMethodByName(path[1:].replace("/", ".")).GetOptions()
    reads = path in _READING or options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    if key.read_only and not reads:
        raise Refused("PERMISSION_DENIED", "READ_ONLY_KEY", f"{key.name} may only read; {path} writes")
    needed = {_Scope.Value("KEYS")} if path.startswith(_KEYS) else {_Scope.Value("WRITE")}
    needed |= {_Scope.Value("ASK")} if path in _ASKING else set()
    needed |= {_Scope.Value("READ"), _Scope.Value("WRITE")} if reads else set()
    if key.scopes and not needed & set(key.scopes) and not path.endswith("/GetProject"):
        raise Refused("PERMISSION_DENIED", "OUT_OF_SCOPE", f"{key.name} may not call {path}")


def _stranger(reason: str, message: str) -> Refused:
    return Refused("UNAUTHENTICATED", reason, message)


def _read_by(deserializer: Any) -> Any:
    """What does not parse is handed on as the error that it is, for the call to be refused with details."""

    def read(raw: bytes) -> Any:
        try:
            return deserializer(raw)
        except DecodeError as error:
            return error

    return read
