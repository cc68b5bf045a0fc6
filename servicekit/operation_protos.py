"""Operations as callers see them: google.longrunning.Operation from a row, and the digest of what was asked for."""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from google.longrunning import operations_pb2 as pb
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.code_pb2 import Code

from ingrain.v1 import common_pb2

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"
ENDED = (SUCCEEDED, FAILED, CANCELLED)
# Where bytes lie is shown to services only.
SERVICES_FIELDS = ("uri", "results_uri")


def to_proto(row: sa.Row[Any]) -> pb.Operation:
    metadata = common_pb2.OperationMetadata.FromString(row.metadata)
    metadata.attempt_count = row.attempts
    metadata.cancel_requested = row.cancel_requested
    metadata.children.extend(json.loads(row.notes).get("children", []))
    operation = pb.Operation(name=row.name, done=row.state in ENDED)
    operation.metadata.Pack(metadata)
    if row.result:
        operation.response.CopyFrom(AnyMessage.FromString(row.result))
    if row.error:
        operation.error.CopyFrom(status_pb2.Status.FromString(row.error))
    return operation


def without_uris(operation: pb.Operation, resource: Message) -> pb.Operation:
    """For users. `resource` is an empty message of the response's type; other responses stay as they are."""
    if operation.response.Unpack(resource):
        for field in SERVICES_FIELDS:
            if field in resource.DESCRIPTOR.fields_by_name:
                resource.ClearField(field)  # type: ignore[arg-type]
        operation.response.Pack(resource)
    return operation


def request_digest(request: Message) -> str:
    """Of what was asked for; the id of the asking is not part of it."""
    content = type(request)()
    content.CopyFrom(request)
    if "request_id" in content.DESCRIPTOR.fields_by_name:
        content.ClearField("request_id")  # type: ignore[arg-type]
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()


def cancelled_status() -> status_pb2.Status:
    return status_pb2.Status(code=Code.CANCELLED, message="cancelled on request")
