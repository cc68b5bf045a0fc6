"""Which backend serves what: the only thing that a new service adds to the gateway."""

from dataclasses import dataclass

import grpc
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError

from ingrain.v1 import (  # noqa: F401 - imported for their descriptors
    aliases_pb2,
    augmenter_pb2,
    batches_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    projects_pb2,
    studies_pb2,
    trainer_pb2,
)
from servicekit.errors import DomainError, Invalid

BACKEND_OF_SERVICE = {
    "ingrain.v1.Datasets": "augmenter",
    "ingrain.v1.Augmenter": "augmenter",
    "ingrain.v1.Trainer": "trainer",
    "ingrain.v1.Inference": "inference",
    "ingrain.v1.Aliases": "inference",
    "ingrain.v1.Batches": "inference",
    "ingrain.v1.Evaluator": "evaluator",
    "ingrain.v1.Studies": "studies",
}
BACKEND_OF_COLLECTION = {
    "datasets": "augmenter",
    "models": "trainer",
    "contexts": "inference",
    "batches": "inference",
    "evaluations": "evaluator",
    "probesets": "evaluator",
    "studies": "studies",
}
OWN_SERVICES = ("ingrain.v1.Projects", "ingrain.v1.Keys")
OPERATIONS = "google.longrunning.Operations"
# What an application needs that asks a model and does nothing else.
ASKING = frozenset(
    f"/ingrain.v1.Inference/{name}" for name in ("Generate", "StreamGenerate", "Score", "CountTokens")
)
_OPERATION_REQUESTS = {
    "GetOperation": operations_pb2.GetOperationRequest,
    "ListOperations": operations_pb2.ListOperationsRequest,
    "WaitOperation": operations_pb2.WaitOperationRequest,
    "CancelOperation": operations_pb2.CancelOperationRequest,
    "DeleteOperation": operations_pb2.DeleteOperationRequest,
}


class UnknownMethod(DomainError):
    code = grpc.StatusCode.UNIMPLEMENTED


@dataclass(frozen=True)
class Method:
    """What the gateway knows of a method, from its descriptor."""

    path: str
    backend: str  # empty for Operations, where the name that is asked for decides
    reads: bool  # `idempotency_level = NO_SIDE_EFFECTS`: read-only keys may call it
    uploads: bool  # the caller streams, one answer comes back
    waits: bool  # it does no work, it tells what others do
    unary: bool  # one request, one answer

    @property
    def scopes(self) -> frozenset[str]:
        """Each of which is enough to call it."""
        asking = {"ASK"} if self.path in ASKING else set()
        reading = {"READ"} if self.reads else set()
        return frozenset({"WRITE"} | asking | reading)


def find(path: str) -> Method:
    """The method at `/package.Service/Method`."""
    if path not in METHODS:
        raise UnknownMethod("UNKNOWN_METHOD", f"{path} is no method of this platform", method=path[:200])
    return METHODS[path]


def backend_of(method: Method, first_message: bytes | None) -> str:
    """Operations go by the collection in the name that they ask for; every other method has one backend."""
    return method.backend or _backend_of_operation(method.path, first_message or b"")


def _backend_of_operation(path: str, message: bytes) -> str:
    try:
        name: str = _OPERATION_REQUESTS[path.rpartition("/")[2]].FromString(message).name
    except DecodeError:
        raise Invalid("BAD_MESSAGE", f"{path}: the request does not parse") from None
    parts = name.split("/")
    if len(parts) < 3 or parts[0] != "projects" or parts[2] not in BACKEND_OF_COLLECTION:
        known = ", ".join(BACKEND_OF_COLLECTION)
        raise Invalid(
            "BAD_NAME",
            f"{name[:200]!r} names no operation; expected "
            f"projects/<project>/<collection>/<id>/operations/<operation> with a collection of {known}",
            field="name",
        )
    return BACKEND_OF_COLLECTION[parts[2]]


def _described(service: str, backend: str) -> list[Method]:
    found = descriptor_pool.Default().FindServiceByName(service)
    return [
        Method(
            path=f"/{service}/{method.name}",
            backend=backend,
            reads=method.GetOptions().idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS,
            uploads=method.client_streaming and not method.server_streaming,
            waits=method.name.startswith("Watch"),
            unary=not method.client_streaming and not method.server_streaming,
        )
        for method in found.methods
    ]


METHODS = {
    method.path: method
    for service, backend in BACKEND_OF_SERVICE.items()
    for method in _described(service, backend)
} | {
    f"/{OPERATIONS}/{name}": Method(
        path=f"/{OPERATIONS}/{name}",
        backend="",
        reads=name in ("GetOperation", "ListOperations", "WaitOperation"),
        uploads=False,
        waits=name == "WaitOperation",
        unary=True,
    )
    for name in _OPERATION_REQUESTS
}
