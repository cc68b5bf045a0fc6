"""The fake's google.longrunning.Operations."""

from typing import Any

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from ingrain.testing.store import Refused, Store, bad_name, metadata_of

_COLLECTIONS = ("datasets", "models", "contexts", "batches", "evaluations", "probesets", "studies")
_WAIT_S = 30.0  # where a call does not say how long


class Operations(operations_pb2_grpc.OperationsServicer):
    def __init__(self, store: Store) -> None:
        self.store = store

    def GetOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        return self._named(request)

    def ListOperations(self, request: Any, context: Any) -> operations_pb2.ListOperationsResponse:
        """Of a collection (`projects/p/models`) or a resource in it."""
        under = _checked(request.name).rstrip("/").removesuffix("/operations")
        if request.filter:
            message = "filter must be empty; choose by name instead"
            raise Refused("INVALID_ARGUMENT", "UNSUPPORTED_FILTER", message, "filter")
        if under.count("/") not in (2, 3):
            raise bad_name(
                f"operations are listed of a collection or of a resource in it; {under} is neither"
            )
        with self.store.changed:
            found = {name: o for name, o in self.store.operations.items() if name.startswith(f"{under}/")}
        page, token = self.store.page_of(found, request)
        return operations_pb2.ListOperationsResponse(operations=page, next_page_token=token)

    def WaitOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        operation = self._named(request)
        asked_s = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else _WAIT_S
        left_s = context.time_remaining()
        limit_s = asked_s if left_s is None else min(asked_s, max(0.0, left_s - 0.5))
        with self.store.changed:
            self.store.changed.wait_for(lambda: operation.done, limit_s)
        return operation

    def CancelOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        operation = self._named(request)
        with self.store.changed:
            if not operation.done:
                metadata = metadata_of(operation)
                metadata.cancel_requested = True
                operation.metadata.Pack(metadata)
                self.store.changed.notify_all()
        return empty_pb2.Empty()

    def DeleteOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        if not self._named(request).done:
            message = f"{request.name} has not ended; cancel it first"
            raise Refused("FAILED_PRECONDITION", "OPERATION_RUNNING", message, operation=request.name)
        with self.store.changed:
            del self.store.operations[request.name]
        return empty_pb2.Empty()

    def _named(self, request: Any) -> operations_pb2.Operation:
        return self.store.operation(_checked(request.name))


def _checked(name: str) -> str:
    """A name of an operation, a resource or a collection, of a collection that has operations."""
    parts = name.split("/")
    if len(parts) < 3 or parts[0] != "projects" or parts[2] not in _COLLECTIONS:
        raise bad_name(f"{name[:200]!r} names no operation")
    return name
