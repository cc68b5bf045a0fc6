"""Who calls, and what errors say, the same on both platforms."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from ingrain import Client
from ingrain.v1 import (
    datasets_pb2,
    projects_pb2,
)
from tests.e2e.contract.asked import GONE, Contract, Refusal

pytestmark = pytest.mark.timeout(600)


def raw(
    address: str, method: str, body: bytes, *metadata: tuple[str, str]
) -> tuple[grpc.StatusCode, dict[str, Any]]:
    """What a bare call is answered with: its code, and the details by their names."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(method)(body, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            sent = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
            details: dict[str, Any] = {}
            for packed in status_pb2.Status.FromString(sent).details:
                kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
                details[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
            return error.code(), details
    return grpc.StatusCode.OK, {}


def test_errors_carry_details(contract: Contract, address: str) -> None:
    get, id = "/ingrain.v1.Datasets/GetDataset", ("x-request-id", f"asked-{contract.tag}")
    whole = datasets_pb2.GetDatasetRequest(name=contract.documents.name).SerializeToString()
    gone = datasets_pb2.GetDatasetRequest(name=contract.name("datasets"))

    # A field that a later version of the contract may have is passed over.
    assert raw(address, get, whole + b"\xfa\x3e\x03abc", id)[0] is grpc.StatusCode.OK

    code, details = raw(address, get, gone.SerializeToString(), id)
    info = details["ErrorInfo"]
    assert (code, info.reason, info.domain) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", "ingrain")
    assert info.metadata["resource"] == details["ResourceInfo"].resource_name == gone.name
    assert details["RequestInfo"].request_id == id[1]

    code, details = raw(address, get, b"", id)
    (violation,) = details["BadRequest"].field_violations
    assert (code, violation.field) == (grpc.StatusCode.INVALID_ARGUMENT, "name")
    assert violation.description
    assert violation.field in str(details["BadRequest"])

    refusals = {
        "/ingrain.v1.Datasets/Nothing": (b"", grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD"),
        "/other.Service/Nothing": (b"", grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD"),
        get: (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE"),
        "/google.longrunning.Operations/GetOperation": (
            b"\xff",
            grpc.StatusCode.INVALID_ARGUMENT,
            "BAD_MESSAGE",
        ),
    }
    for method, (body, expected, reason) in refusals.items():
        code, details = raw(address, method, body, id)
        assert (code, details["ErrorInfo"].reason, details["RequestInfo"].request_id) == (
            expected,
            reason,
            id[1],
        ), method
    assert raw(address, "/grpc.health.v1.Health/Check", b"")[0] is grpc.StatusCode.OK


def test_keys_let_in_whom_they_are_for(contract: Contract, address: str) -> None:
    keys, name = contract.stubs.keys, contract.documents.name

    def key(**fields: Any) -> projects_pb2.CreateKeyResponse:
        return keys.CreateKey(
            projects_pb2.CreateKeyRequest(parent=contract.parent, key=projects_pb2.Key(**fields))
        )

    def with_key(secret: str, call: Any) -> Any:
        with Client(address, api_key=secret) as client:
            return contract.refusal(lambda: call(client))

    get = lambda client: client.datasets.get(name)  # noqa: E731
    delete = lambda client: client.datasets.delete(contract.name("datasets"))  # noqa: E731
    ask = lambda client: client.generate(contract.model.name, "cemid are", max_tokens=2)  # noqa: E731
    every, reading, asking, writing = key(), key(read_only=True), key(scopes=["ASK"]), key(scopes=["WRITE"])
    assert every.secret.startswith(f"ingrain_default.{every.key.name.rpartition('/')[2]}.")
    out_of_scope: Refusal = ("PERMISSION_DENIED", "OUT_OF_SCOPE", [])
    fine: Refusal = ("OK", "", [])
    assert with_key(every.secret, get) == fine
    assert with_key(every.secret, lambda client: client.datasets.get("projects/other/datasets/d")) == GONE
    assert with_key(reading.secret, get) == fine
    assert with_key(reading.secret, delete) == ("PERMISSION_DENIED", "READ_ONLY_KEY", [])
    assert with_key(asking.secret, ask) == fine
    assert with_key(asking.secret, get) == out_of_scope
    assert with_key(writing.secret, delete) == GONE
    assert with_key(writing.secret, lambda client: list(client.keys.list())) == fine
    assert with_key(writing.secret, lambda client: client.keys.revoke(every.key.name)) == out_of_scope
    assert with_key(f"{every.secret[:-1]}x", get) == ("UNAUTHENTICATED", "BAD_KEY", [])
    assert with_key("ingrain_nonsense", get) == ("UNAUTHENTICATED", "BAD_KEY", [])

    newest = keys.ListKeys(projects_pb2.ListKeysRequest(parent=contract.parent, page_size=1)).keys
    assert [one.name for one in newest] == [writing.key.name]
    revoked = keys.RevokeKey(projects_pb2.RevokeKeyRequest(name=every.key.name))
    assert revoked.HasField("revoke_time")
    assert keys.RevokeKey(projects_pb2.RevokeKeyRequest(name=every.key.name)) == revoked
    assert with_key(every.secret, get) == ("UNAUTHENTICATED", "KEY_REVOKED", [])
