"""What the fake platform remembers: resources, operations, request ids. All in memory, guarded by one lock."""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ingrain.v1 import common_pb2

_ID = re.compile(r"[a-z][a-z0-9-]{1,62}")


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
        self.status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="ingrain"))
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
            self.status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))


class Work(NamedTuple):
    """One long task: `stages` with a number of steps each, then `finish` gives the resource. `response`: what the
    operation answers, where that is another."""

    verb: str
    stages: dict[str, int]
    finish: Callable[[], None]
    response: Any = None


class Store:
    def __init__(self, step_s: float) -> None:
        self.changed = threading.Condition()
        self.resources: dict[str, Any] = {}
        self.operations: dict[str, operations_pb2.Operation] = {}
        self.failures: dict[str, Refused] = {}
        self._requests: dict[str, tuple[bytes, Any]] = {}
        self._step_s = step_s

    def get(self, name: str) -> Any:
        with self.changed:
            if name not in self.resources:
                raise Refused("NOT_FOUND", "RESOURCE_NOT_FOUND", f"there is no {name}")
            return self.resources[name]

    def active(self, name: str) -> Any:
        resource = self.get(name)
        if resource.state != common_pb2.ACTIVE:
            state = common_pb2.State.Name(resource.state)
            raise Refused("FAILED_PRECONDITION", "RESOURCE_NOT_ACTIVE", f"{name} is {state}, not ACTIVE")
        return resource

    def page(self, parent: str, collection: str, request: Any) -> tuple[list[Any], str]:
        with self.changed:
            prefix = f"{parent}/{collection}/"
            found = [r for name, r in reversed(self.resources.items()) if name.startswith(prefix)]
        start, size = int(request.page_token or 0), request.page_size or 50
        return found[start : start + size], str(start + size) if start + size < len(found) else ""

    def delete(self, name: str) -> None:
        self.get(name)
        with self.changed:
            del self.resources[name]

    def new_name(self, parent: str, collection: str, id: str) -> str:
        if id and not _ID.fullmatch(id):
            raise Refused("INVALID_ARGUMENT", "ID_INVALID", f"{id!r} is no id: [a-z][a-z0-9-]{{1,62}}", "id")
        name = f"{parent}/{collection}/{id or collection[0] + uuid.uuid4().hex[:10]}"
        if name in self.resources:
            raise Refused("ALREADY_EXISTS", "NAME_TAKEN", f"{name} exists already")
        return name

    def once(self, request: Any, make: Callable[[], Any], body: bytes = b"") -> Any:
        """What `make` gives, or gave when the same `request_id` came before."""
        with self.changed:
            return self._once(request, make, body + request.SerializeToString(deterministic=True))

    def _once(self, request: Any, make: Callable[[], Any], body: bytes) -> Any:
        if request.request_id not in self._requests:
            made = make()
            if request.request_id:
                self._requests[request.request_id] = (body, made)
            return made
        known, made = self._requests[request.request_id]
        if known != body:
            message = f"request_id {request.request_id} was used with another request; take a new one"
            raise Refused("INVALID_ARGUMENT", "REQUEST_ID_REUSED", message, "request_id")
        return made

    def start(self, resource: Any, work: Work) -> operations_pb2.Operation:
        """The operation that makes `resource`, at work in a thread of its own."""
        operation = operations_pb2.Operation(name=f"{resource.name}/operations/{uuid.uuid4().hex[:10]}")
        with self.changed:
            resource.state = common_pb2.CREATING
            if "create_time" in resource.DESCRIPTOR.fields_by_name and not resource.HasField("create_time"):
                resource.create_time.GetCurrentTime()
            self.resources[resource.name] = resource
            self.operations[operation.name] = operation
            self._tell(operation, common_pb2.OperationMetadata(target=resource.name, verb=work.verb))
        threading.Thread(target=self._work, args=(operation, resource, work), daemon=True).start()
        return operation

    def estimate(self, parent: str, verb: str, estimate: common_pb2.Estimate) -> operations_pb2.Operation:
        """The done operation that answers `validate_only`."""
        operation = operations_pb2.Operation(name=f"{parent}/operations/estimate", done=True)
        operation.metadata.Pack(common_pb2.OperationMetadata(target=parent, verb=verb, estimate=estimate))
        return operation

    def operation(self, name: str) -> operations_pb2.Operation:
        with self.changed:
            if name not in self.operations:
                raise Refused("NOT_FOUND", "OPERATION_NOT_FOUND", f"there is no {name}")
            return self.operations[name]

    def watch(self, name: str) -> Iterator[common_pb2.OperationMetadata]:
        """Metadata of the operation that makes resource `name`, at every change, until it ends."""
        with self.changed:
            while True:
                found = [o for n, o in self.operations.items() if n.startswith(f"{name}/operations/")]
                metadata = common_pb2.OperationMetadata()
                found[-1].metadata.Unpack(metadata)
                yield metadata
                if found[-1].done:
                    return
                self.changed.wait(1.0)

    def _work(self, operation: operations_pb2.Operation, resource: Any, work: Work) -> None:
        metadata = common_pb2.OperationMetadata(target=resource.name, verb=work.verb, attempt_count=1)
        try:
            for stage, total in work.stages.items():
                for completed in range(1, total + 1):
                    time.sleep(self._step_s)
                    metadata.stage, metadata.completed_count, metadata.total_count = stage, completed, total
                    with self.changed:
                        self._tell(operation, metadata)
            if work.verb in self.failures:
                raise self.failures.pop(work.verb)
            work.finish()
        except Refused as refused:
            self._end(operation, resource, refused.status)
        else:
            self._end(operation, resource, None, work.response)

    def _tell(self, operation: operations_pb2.Operation, metadata: common_pb2.OperationMetadata) -> None:
        known = common_pb2.OperationMetadata()
        operation.metadata.Unpack(known)
        metadata.cancel_requested = known.cancel_requested
        if metadata.cancel_requested:
            raise Refused("CANCELLED", "OPERATION_CANCELLED", f"{operation.name} was cancelled")
        operation.metadata.Pack(metadata)
        self.changed.notify_all()

    def _end(
        self,
        operation: operations_pb2.Operation,
        resource: Message,
        error: status_pb2.Status | None,
        response: Message | None = None,
    ) -> None:
        with self.changed:
            resource.state = common_pb2.FAILED if error else common_pb2.ACTIVE
            if error:
                operation.error.CopyFrom(error)
            else:
                operation.response.Pack(response or resource)
            metadata = common_pb2.OperationMetadata()
            operation.metadata.Unpack(metadata)
            metadata.end_time.GetCurrentTime()
            operation.metadata.Pack(metadata)
            operation.done = True
            self.changed.notify_all()


class StatusOf(grpc.Status):
    """What `context.abort_with_status` takes."""

    def __init__(self, status: status_pb2.Status) -> None:
        codes = {code.value[0]: code for code in grpc.StatusCode}
        self.code = codes[status.code]
        self.details = status.message
        self.trailing_metadata = (("grpc-status-details-bin", status.SerializeToString()),)
