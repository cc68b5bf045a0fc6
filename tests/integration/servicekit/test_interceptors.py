"""What every call passes: identity, rules, statuses with details, one log line; at the start and in mid-stream."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from ingrain import errors as sdk
from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import datasets_pb2_grpc as pb_grpc
from servicekit import identity
from servicekit.errors import DomainError
from servicekit.server import new_server
from servicekit.settings import ServiceSettings

Metadata = tuple[tuple[str, str], ...]


def get(name: str) -> pb.GetDatasetRequest:
    return pb.GetDatasetRequest(name=f"projects/p/datasets/{name}")


async def failure(call: Any) -> sdk.IngrainError:
    """The error that a user of the SDK would see."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return sdk.from_rpc_error(caught.value)


async def test_the_caller_is_who_the_gateway_says(stub: pb_grpc.DatasetsStub, gateway: Metadata) -> None:
    found = await stub.GetDataset(get("d"), metadata=gateway)
    assert found.display_name == "user key-1"


@pytest.mark.parametrize("token", [None, "", "wrong", "the-gateways-own-toke", "the-gateways-own-token2"])
async def test_nobody_else_is_let_in(
    stub: pb_grpc.DatasetsStub, gateway: Metadata, token: str | None
) -> None:
    metadata = [pair for pair in gateway if pair[0] != identity.GATEWAY_TOKEN]
    if token is not None:
        metadata.append((identity.GATEWAY_TOKEN, token))
    rows = pb.ReadRowsRequest(name="projects/p/datasets/d", start_row=3)
    for call in (
        lambda: stub.GetDataset(get("d"), metadata=metadata),
        lambda: stub.UploadDataset(iter([]), metadata=metadata),
        lambda: stub.ReadRows(rows, metadata=metadata).read(),
    ):
        assert isinstance(await failure(call()), sdk.Unauthenticated)


async def test_another_projects_resource_reads_like_a_missing_one(
    stub: pb_grpc.DatasetsStub, gateway: Metadata
) -> None:
    foreign = await failure(
        stub.GetDataset(pb.GetDatasetRequest(name="projects/q/datasets/d"), metadata=gateway)
    )
    missing = await failure(stub.GetDataset(get("missing"), metadata=gateway))
    assert foreign.code == missing.code == grpc.StatusCode.NOT_FOUND
    assert foreign.message.replace("projects/q/datasets/d", "X") == missing.message.replace(
        "projects/p/datasets/missing", "X"
    )
    assert foreign.reason == missing.reason


@pytest.mark.parametrize(
    "fault", ["missing", "invalid", "taken", "state", "busy", "full", "away", "forbidden"]
)
async def test_domain_errors_come_as_the_same_errors_of_the_sdk(
    stub: pb_grpc.DatasetsStub, gateway: Metadata, faults: dict[str, Callable[[], DomainError]], fault: str
) -> None:
    """At the start of a call, in the middle of an answer, in the middle of an upload."""
    expected = faults[fault]()
    seen = [await failure(stub.GetDataset(get(fault), metadata=gateway))]

    reading = stub.ReadRows(
        pb.ReadRowsRequest(name=f"projects/p/datasets/{fault}", start_row=3), metadata=gateway
    )
    assert [(await reading.read()).start_row for _ in range(3)] == [0, 1, 2]
    seen.append(await failure(reading.read()))

    uploading = stub.UploadDataset(metadata=gateway)
    for _ in range(3):
        await uploading.write(pb.UploadDatasetRequest(chunk=b"x"))
    header = pb.UploadDatasetHeader(parent="projects/pp", dataset_id=fault)
    await uploading.write(pb.UploadDatasetRequest(header=header))
    seen.append(await failure(uploading))

    for error in seen:
        assert (error.code, error.reason, error.message) == (expected.code, expected.reason, expected.message)
        assert error.metadata == expected.metadata
        assert error.request_id
        assert (error.retry_after_s or 0) == getattr(expected, "retry_after_s", 0)
    if fault == "invalid":
        assert seen[1].field_violations[0].field == "rows[17].answer"


async def test_surprises_say_nothing_and_are_logged_under_the_request_id(
    stub: pb_grpc.DatasetsStub, gateway: Metadata, logged: list[dict[str, Any]]
) -> None:
    error = await failure(stub.GetDataset(get("surprise"), metadata=(*gateway, (identity.REQUEST_ID, "r-7"))))
    assert error.code == grpc.StatusCode.INTERNAL
    assert "hunter2" not in error.message
    assert error.request_id == "r-7"
    (surprise,) = [line for line in logged if line["event"] == "unexpected_error"]
    assert "hunter2" in surprise["exc_info"]
    assert surprise["request_id"] == "r-7"


async def test_every_broken_rule_is_named(stub: pb_grpc.DatasetsStub, gateway: Metadata) -> None:
    request = pb.ImportDatasetRequest(parent="p", dataset_id="Not An Id", source_uri="ftp://x")
    error = await failure(stub.ImportDataset(request, metadata=gateway))
    assert isinstance(error, sdk.Invalid)
    assert {violation.field for violation in error.field_violations} == {"parent", "dataset_id", "source_uri"}


async def test_each_message_of_an_upload_is_checked(stub: pb_grpc.DatasetsStub, gateway: Metadata) -> None:
    async def requests() -> AsyncIterator[pb.UploadDatasetRequest]:
        yield pb.UploadDatasetRequest(chunk=b"fine")
        yield pb.UploadDatasetRequest(chunk=b"x" * (1 << 20) + b"x")

    error = await failure(stub.UploadDataset(requests(), metadata=gateway))
    assert isinstance(error, sdk.Invalid)
    assert error.field_violations[0].field == "chunk"


async def test_endless_errors_are_cut_so_that_they_arrive(
    stub: pb_grpc.DatasetsStub, gateway: Metadata
) -> None:
    error = await failure(stub.GetDataset(get("endless"), metadata=gateway))
    assert isinstance(error, sdk.Invalid)
    assert error.reason == "LONG"
    assert "100000 characters" in error.message


async def test_a_message_over_the_limit_is_refused_and_the_server_lives(
    address: str, stub: pb_grpc.DatasetsStub, gateway: Metadata
) -> None:
    limit = 4 << 20
    async with grpc.aio.insecure_channel(address) as channel:
        send = channel.unary_unary("/ingrain.v1.Datasets/GetDataset")
        at_limit = b"\x0a" + pb.GetDatasetRequest(name="x" * (limit - 5)).SerializeToString()[1:]
        assert len(at_limit) == limit
        assert isinstance(await failure(send(at_limit, metadata=gateway)), sdk.Invalid)
        assert isinstance(await failure(send(at_limit + b"\0", metadata=gateway)), sdk.Exhausted)
    assert (await stub.GetDataset(get("d"), metadata=gateway)).name == "projects/p/datasets/d"


async def test_bytes_that_are_no_message_do_no_harm(
    address: str, stub: pb_grpc.DatasetsStub, gateway: Metadata
) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/ingrain.v1.Datasets/GetDataset")(b"\xff\xff\xff", metadata=gateway)
    assert (await stub.GetDataset(get("d"), metadata=gateway)).name


@pytest.mark.parametrize(
    "name", ["projects/p/datasets/a\0b", "projects/p/datasets/" + "x" * 500, "projects//datasets/d"]
)
async def test_odd_names_are_refused(stub: pb_grpc.DatasetsStub, gateway: Metadata, name: str) -> None:
    assert isinstance(
        await failure(stub.GetDataset(pb.GetDatasetRequest(name=name), metadata=gateway)), sdk.Invalid
    )


async def test_an_unknown_method_is_unimplemented(address: str, gateway: Metadata) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        error = await failure(channel.unary_unary("/ingrain.v1.Datasets/Dance")(b"", metadata=gateway))
    assert isinstance(error, sdk.Unsupported)


async def test_each_call_leaves_one_line(
    stub: pb_grpc.DatasetsStub, gateway: Metadata, logged: list[dict[str, Any]]
) -> None:
    await stub.GetDataset(get("d"), metadata=(*gateway, (identity.REQUEST_ID, "r-1")))
    await failure(stub.GetDataset(get("missing"), metadata=gateway))
    await failure(stub.GetDataset(get("aborted"), metadata=gateway))
    reading = stub.ReadRows(
        pb.ReadRowsRequest(name="projects/p/datasets/d", start_row=1 << 40), metadata=gateway
    )
    await reading.read()
    reading.cancel()
    rows = stub.ReadRows(pb.ReadRowsRequest(name="projects/p/datasets/d", start_row=2), metadata=gateway)
    assert len([row async for row in rows]) == 2
    lines = [line for line in logged if line["event"] == "call"]
    assert sorted(line["code"] for line in lines) == ["CANCELLED", "DATA_LOSS", "NOT_FOUND", "OK", "OK"]
    assert lines[0]["request_id"] == "r-1"
    assert lines[0]["project"] == "projects/p"
    assert lines[0]["method"] == "/ingrain.v1.Datasets/GetDataset"
    assert lines[0]["ms"] >= 0
    assert len({line["request_id"] for line in lines}) == 5
    assert not any("the-gateways-own-token" in str(line) for line in logged)
    assert code_pb2.Code.Value(lines[1]["code"]) == code_pb2.NOT_FOUND


async def test_streams_both_ways_are_guarded_alike(gateway: Metadata) -> None:
    async def echo(requests: AsyncIterator[pb.GetDatasetRequest], context: Any) -> AsyncIterator[pb.Dataset]:
        async for request in requests:
            yield pb.Dataset(name=identity.authorize(request.name))

    server = new_server(ServiceSettings(gateway_token=dict(gateway)[identity.GATEWAY_TOKEN]))
    handler = grpc.stream_stream_rpc_method_handler(
        echo, pb.GetDatasetRequest.FromString, pb.Dataset.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.stream_stream(
            "/test.Echo/Echo", pb.GetDatasetRequest.SerializeToString, pb.Dataset.FromString
        )
        for name, kind in (("projects/q/datasets/d", sdk.NotFound), ("nonsense", sdk.Invalid)):
            call = method(metadata=gateway)
            await call.write(get("d"))
            assert (await call.read()).name == "projects/p"
            await call.write(pb.GetDatasetRequest(name=name))
            assert isinstance(await failure(call.read()), kind)
    await server.stop(0)
