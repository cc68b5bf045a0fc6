"""What the fake platform remembers: resources, operations, request ids. All in memory, guarded by one lock."""

import base64
import itertools
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grpc
from google.longrunning import operations_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ingrain.v1 import common_pb2


class Refused(Exception):
    """An answer that is an error. `field`: the path of what is wrong; `violations`: several, with what is wrong with each.
    `metadata`: what the message quotes."""

    def __init__(
        self,
        code: str,
        reason: str,
        message: str,
        field: str = "",
        violations: Sequence[tuple[str, str]] = (),
        retry_after_s: float = 0.0,
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
        info = error_details_pb2.ErrorInfo(reason=reason, domain="ingrain")
        info.metadata.update({key: str(value) for key, value in metadata.items()})
        self.status.details.add().Pack(info)
        bad = error_details_pb2.BadRequest()
        for path, text in [(field, message)] if field else violations:
            bad.field_violations.add(field=path, description=text)
        if bad.field_violations:
            self.status.details.add().Pack(bad)
        if retry_after_s:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
            self.status.details.add().Pack(retry)
        if code in ("NOT_FOUND", "ALREADY_EXISTS") and "resource" in metadata:
            name = str(metadata["resource"])
            self.status.details.add().Pack(error_details_pb2.ResourceInfo(resource_name=name))

    def answer(self, request_id: str) -> status_pb2.Status:
        """As a call is answered with it."""
        status = status_pb2.Status()
        status.CopyFrom(self.status)
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
        return status


def not_found(name: str) -> Refused:
    return Refused("NOT_FOUND", "RESOURCE_NOT_FOUND", f"{name} does not exist", resource=name)


def bad_name(message: str) -> Refused:
    return Refused("INVALID_ARGUMENT", "BAD_NAME", message, "name")


class Work(NamedTuple):
    """One long task: `stages` with a number of steps each, then `finish` gives the resource. `response`: what the
    operation answers, where that is another. `changes`: the resource is there, and stays as it is if the work fails.
    `target`: under which name the operation stands, where that is another. `told` hears of every stage that is done."""

    verb: str
    stages: dict[str, int]
    finish: Callable[[], None]
    response: Any = None
    changes: bool = False
    target: str = ""
    told: Callable[[str], None] = lambda stage: None


class Store:
    def __init__(self, step_s: float, heartbeat_s: float = 15.0) -> None:
        self.changed = threading.Condition()
        self.heartbeat_s = heartbeat_s
        self.resources: dict[str, Any] = {}
        self.operations: dict[str, operations_pb2.Operation] = {}
        self.keys: dict[str, Any] = {}  # by their secrets
        self.failures: dict[str, Refused] = {}
        self._requests: dict[tuple[str, str, str], tuple[bytes, Any]] = {}
        self._sequence: dict[
            str, int
        ] = {}  # of resources and operations, in the order in which they were made
        self._count = itertools.count(1)
        self._ended_names: set[str] = set()
        self._step_s = step_s

    def get(self, name: str) -> Any:
        with self.changed:
            if name not in self.resources:
                raise not_found(name)
            return self.resources[name]

    def put(self, resource: Any) -> Any:
        """One that is ready at once."""
        resource.state = common_pb2.ACTIVE
        resource.create_time.GetCurrentTime()
        with self.changed:
            self.resources[resource.name] = resource
        return resource

    def active(self, name: str) -> Any:
        resource = self.get(name)
        if resource.state != common_pb2.ACTIVE:
            state, kind = common_pb2.State.Name(resource.state), type(resource).__name__.upper()
            raise Refused("FAILED_PRECONDITION", f"{kind}_NOT_ACTIVE", f"{name} is {state}, not ACTIVE")
        return resource

    def page(self, parent: str, collection: str, request: Any) -> tuple[list[Any], str]:
        """Newest first, and the token of the next page (empty at the end)."""
        prefix = f"{parent}/{collection}/" if parent else f"{collection}/"
        depth = prefix.count("/")
        with self.changed:
            found = {
                n: r for n, r in self.resources.items() if n.startswith(prefix) and n.count("/") == depth
            }
        return self.page_of(found, request)

    def page_of(self, found: dict[str, Any], request: Any) -> tuple[list[Any], str]:
        """The same of some resources or operations by name, in the order in which they were made."""
        if request.page_size < 0:
            message = f"page_size is {request.page_size}; it must not be negative"
            raise Refused("INVALID_ARGUMENT", "BAD_PAGE_SIZE", message, "page_size")
        with self.changed:
            for name in found:
                self._sequence.setdefault(name, next(self._count))
            before = _sequence_of(request.page_token) if request.page_token else sys.maxsize
            names = [name for name in reversed(found) if self._sequence[name] < before]
            size = min(request.page_size or 50, 1000)
            token = _token_of(self._sequence[names[size - 1]]) if len(names) > size else ""
            return [found[name] for name in names[:size]], token

    def delete(self, name: str, keep_name: bool = True) -> None:
        """Its name stays taken, unless told."""
        self.get(name)
        with self.changed:
            del self.resources[name]
            self._sequence.pop(name, None)
            if keep_name:
                self._ended_names.add(name)

    def name_of(self, parent: str, collection: str, id: str) -> str:
        prefix = f"{parent}/" if parent else ""
        return f"{prefix}{collection}/{id or f'{collection[:-1]}-{uuid.uuid4().hex[:12]}'}"

    def new_name(self, parent: str, collection: str, id: str) -> str:
        name = self.name_of(parent, collection, id)
        if name in self.resources or name in self._ended_names:
            message = f"{name} exists already (or did); choose another id"
            raise Refused("ALREADY_EXISTS", "NAME_TAKEN", message, resource=name)
        return name

    def once(self, request: Any, make: Callable[[], Any], body: bytes = b"") -> Any:
        """What `make` gives, or gave when the same `request_id` came before with a request of this kind in this project."""
        project = "/".join((getattr(request, "parent", "") or getattr(request, "name", "")).split("/")[:2])
        key = (type(request).__name__, project, request.request_id)
        with self.changed:
            return self._once(key, make, body + request.SerializeToString(deterministic=True))

    def _once(self, key: tuple[str, str, str], make: Callable[[], Any], body: bytes) -> Any:
        request_id = key[-1]
        if not request_id:
            return make()
        if key not in self._requests:
            self._requests[key] = (body, make())
        known, made = self._requests[key]
        if known != body:
            message = f"request_id {request_id} was used before with another request; take a new one"
            raise Refused(
                "INVALID_ARGUMENT", "REQUEST_ID_REUSED", message, "request_id", request_id=request_id
            )
        return made

    def start(self, resource: Any, work: Work) -> operations_pb2.Operation:
        """The operation that makes `resource`, at work in a thread of its own."""
        target = work.target or resource.name
        operation = operations_pb2.Operation(name=f"{target}/operations/{uuid.uuid4().hex[:12]}")
        metadata = common_pb2.OperationMetadata(target=target, verb=work.verb)
        metadata.create_time.GetCurrentTime()
        metadata.update_time.CopyFrom(metadata.create_time)
        with self.changed:
            if not work.changes:
                resource.state = common_pb2.CREATING
                resource.create_time.CopyFrom(metadata.create_time)
                self.resources[resource.name] = resource
            self.operations[operation.name] = operation
            operation.metadata.Pack(metadata)
            self.changed.notify_all()
        threading.Thread(target=self._work, args=(operation, resource, work), daemon=True).start()
        return operation

    def estimate(self, target: str, verb: str, estimate: common_pb2.Estimate) -> operations_pb2.Operation:
        """The done operation that answers `validate_only`; `target`: what would be made."""
        operation = operations_pb2.Operation(name=f"{target}/operations/validate-only", done=True)
        operation.metadata.Pack(common_pb2.OperationMetadata(target=target, verb=verb, estimate=estimate))
        operation.response.Pack(estimate)
        return operation

    def operation(self, name: str) -> operations_pb2.Operation:
        with self.changed:
            if name not in self.operations:
                raise not_found(name)
            return self.operations[name]

    def watch(self, name: str) -> Iterator[common_pb2.OperationMetadata | None]:
        """Metadata of the operation that makes resource `name`, at every change, until it ends; None where nothing has
        changed for `heartbeat_s`. Nothing at all where no operation is known."""
        seen, told = b"", time.monotonic()
        while True:
            with self.changed:
                found = [o for n, o in self.operations.items() if n.startswith(f"{name}/operations/")]
                if found and not found[-1].done and found[-1].metadata.value == seen:
                    self.changed.wait(min(0.2, self.heartbeat_s))
                if not found:
                    return
                metadata, ended = metadata_of(found[-1]), found[-1].done
                value = found[-1].metadata.value
            if value != seen or ended:
                seen, told = value, time.monotonic()
                yield metadata
            elif time.monotonic() - told >= self.heartbeat_s:
                told = time.monotonic()
                yield None
            if ended:
                return

    def _work(self, operation: operations_pb2.Operation, resource: Any, work: Work) -> None:
        try:
            for stage, total in work.stages.items():
                for completed in range(1, total + 1):
                    self._pause(operation, resource)
                    self._tell(operation, stage, completed, total)
                with self.changed:
                    work.told(stage)
            if work.verb in self.failures:
                raise self.failures.pop(work.verb)
            work.finish()
        except Refused as refused:
            self._end(operation, resource, work, refused.status)
        else:
            self._end(operation, resource, work)

    def _pause(self, operation: operations_pb2.Operation, resource: Any) -> None:
        """For a step's time, and as long as the resource is paused. Refused where it was cancelled."""
        time.sleep(self._step_s)
        with self.changed:
            while not metadata_of(operation).cancel_requested and getattr(resource, "paused", False):
                self.changed.wait(1.0)
            if metadata_of(operation).cancel_requested:
                raise _Cancelled()

    def _tell(self, operation: operations_pb2.Operation, stage: str, completed: int, total: int) -> None:
        with self.changed:
            metadata = metadata_of(operation)
            metadata.stage, metadata.completed_count, metadata.total_count = stage, completed, total
            metadata.unit, metadata.attempt_count = "steps", 1
            metadata.update_time.GetCurrentTime()
            operation.metadata.Pack(metadata)
            self.changed.notify_all()

    def _end(
        self,
        operation: operations_pb2.Operation,
        resource: Any,
        work: Work,
        error: status_pb2.Status | None = None,
    ) -> None:
        with self.changed:
            if not (error and work.changes):
                resource.state = common_pb2.FAILED if error else common_pb2.ACTIVE
            if error:
                operation.error.CopyFrom(error)
            else:
                operation.response.Pack(work.response or resource)
            metadata = metadata_of(operation)
            metadata.end_time.GetCurrentTime()
            metadata.update_time.CopyFrom(metadata.end_time)
            operation.metadata.Pack(metadata)
            operation.done = True
            self.changed.notify_all()


class _Cancelled(Refused):
    def __init__(self) -> None:
        super().__init__("CANCELLED", "", "cancelled on request")
        del self.status.details[:]


def metadata_of(operation: operations_pb2.Operation) -> common_pb2.OperationMetadata:
    metadata = common_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def _token_of(sequence: int) -> str:
    return base64.urlsafe_b64encode(str(sequence).encode()).decode()


def _sequence_of(token: str) -> int:
    try:
        sequence = int(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        sequence = 0
    if sequence < 1 or token != _token_of(sequence):
        message = "page_token is not one that a list returned"
        raise Refused("INVALID_ARGUMENT", "BAD_PAGE_TOKEN", message, "page_token")
    return sequence


class StatusOf(grpc.Status):
    """What `context.abort_with_status` takes."""

    def __init__(self, status: status_pb2.Status) -> None:
        codes = {code.value[0]: code for code in grpc.StatusCode}
        self.code = codes[status.code]
        self.details = status.message
        self.trailing_metadata = (("grpc-status-details-bin", status.SerializeToString()),)
