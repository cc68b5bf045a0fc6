"""Which backend serves what: the only thing that a new service adds to the gateway."""

import grpc
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from ingrain.v1 import (  # noqa: F401 - imported for their descriptors
    augmenter_pb2,
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
    "ingrain.v1.Evaluator": "evaluator",
    "ingrain.v1.Studies": "studies",
}
BACKEND_OF_COLLECTION = {
    "datasets": "augmenter",
    "models": "trainer",
    "contexts": "inference",
    "evaluations": "evaluator",
    "studies": "studies",
}
OWN_SERVICES = ("ingrain.v1.Projects", "ingrain.v1.Keys")
OPERATIONS = "google.longrunning.Operations"
_OPERATION_REQUESTS = {
    "GetOperation": operations_pb2.GetOperationRequest,
    "ListOperations": operations_pb2.ListOperationsRequest,
    "WaitOperation": operations_pb2.WaitOperationRequest,
    "CancelOperation": operations_pb2.CancelOperationRequest,
    "DeleteOperation": operations_pb2.DeleteOperationRequest,
}


class UnknownMethod(DomainError):
    code = grpc.StatusCode.UNIMPLEMENTED


def backend_of(method: str, first_message: bytes | None) -> str:
    """The backend of `/package.Service/Method`. Operations go by the collection in the name that they ask for."""
    service, name = method.lstrip("/").split("/", 1)
    if service == OPERATIONS and name in _OPERATION_REQUESTS:
        return _backend_of_operation(name, first_message or b"")
    if service not in BACKEND_OF_SERVICE or name not in methods_of(service):
        raise UnknownMethod("UNKNOWN_METHOD", f"{method} is no method of this platform", method=method)
    return BACKEND_OF_SERVICE[service]


def _backend_of_operation(method: str, message: bytes) -> str:
    try:
        name: str = _OPERATION_REQUESTS[method].FromString(message).name
    except DecodeError:
        raise Invalid("BAD_MESSAGE", f"{method}: the request does not parse") from None
    parts = name.split("/")
    if len(parts) < 3 or parts[0] != "projects" or parts[2] not in BACKEND_OF_COLLECTION:
        known = ", ".join(BACKEND_OF_COLLECTION)
        raise Invalid(
            "BAD_NAME",
            f"{name!r} names no operation; expected projects/<project>/<collection>/<id>/operations/<operation> "
            f"with a collection of {known}",
            field="name",
        )
    return BACKEND_OF_COLLECTION[parts[2]]


def methods_of(service: str) -> dict[str, bool]:
    """Method -> whether it only reads (`idempotency_level = NO_SIDE_EFFECTS`)."""
    found = descriptor_pool.Default().FindServiceByName(service)
    return {method.name: method.GetOptions().idempotency_level == 1 for method in found.methods}


def is_upload(method: str) -> bool:
    """Whether the caller streams and one answer comes back."""
    service, name = method.lstrip("/").split("/", 1)
    if service not in BACKEND_OF_SERVICE:
        return False
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    return bool(found and found.client_streaming and not found.server_streaming)


def is_read_only(method: str) -> bool:
    service, name = method.lstrip("/").split("/", 1)
    if service == OPERATIONS:
        return name in ("GetOperation", "ListOperations", "WaitOperation")
    return methods_of(service).get(name, False)
