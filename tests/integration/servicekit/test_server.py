"""A served process: its line, health, reflection, operations by name, and its graceful end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2 as ops
from google.longrunning import operations_pb2_grpc as ops_grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ingrain import errors as sdk
from ingrain.v1 import common_pb2
from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import datasets_pb2_grpc as pb_grpc
from servicekit import identity
from servicekit.errors import Invalid
from servicekit.server import refuse_open_service
from servicekit.settings import ServiceSettings

SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)
SCRIPT = Path(__file__).with_name("served_process.py")


class Served:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)], stdout=subprocess.PIPE, stderr=self.log
        )
        assert self.process.stdout
        self.line: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.address = f"127.0.0.1:{self.line['port']}"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served")) as process:
        yield process


@pytest.fixture
async def channel(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield channel


async def serving(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status


async def until_serving(channel: grpc.aio.Channel) -> None:
    while await serving(channel) != SERVING:
        await asyncio.sleep(0.1)


async def start_import(channel: grpc.aio.Channel, id: str, source: str = "s3://a/b") -> ops.Operation:
    request = pb.ImportDatasetRequest(parent="projects/pp", dataset_id=id, source_uri=source)
    return await pb_grpc.DatasetsStub(channel).ImportDataset(request)


def test_it_says_where_it_serves(served: Served) -> None:
    assert (served.line["event"], served.line["service"]) == ("serving", "datasets")


async def test_health_opens_when_ready_and_is_known_by_service(channel: grpc.aio.Channel) -> None:
    await until_serving(channel)
    for service in ("", "ingrain.v1.Datasets", "google.longrunning.Operations"):
        assert await serving(channel, service) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving(channel, "ingrain.v1.Nothing")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_client_with_reflection_alone_can_call(served: Served) -> None:
    """Knows no stub: finds services, messages and methods, makes a request from JSON-like values and calls."""
    with grpc.insecure_channel(served.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"ingrain.v1.Datasets", "google.longrunning.Operations", "grpc.health.v1.Health"} <= set(
            database.get_services()
        )
        service = descriptor_pool.DescriptorPool(database).FindServiceByName("ingrain.v1.Datasets")
        method = service.methods_by_name["GetDataset"]
        request = GetMessageClass(method.input_type)(name="projects/p/datasets/0")
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        assert call(request, timeout=10).name == "projects/p/datasets/0"


async def test_operations_are_found_by_name_and_listed_under_their_collection(
    channel: grpc.aio.Channel,
) -> None:
    stub = ops_grpc.OperationsStub(channel)
    started = [await start_import(channel, f"listed-{i}") for i in range(3)]
    assert started[0].name.startswith("projects/pp/datasets/listed-0/operations/")
    waited = await stub.WaitOperation(ops.WaitOperationRequest(name=started[0].name))
    assert waited.done
    found = await stub.ListOperations(ops.ListOperationsRequest(name="projects/pp/datasets", page_size=2))
    assert [o.name for o in found.operations] == [started[2].name, started[1].name]
    assert found.next_page_token
    one = await stub.ListOperations(ops.ListOperationsRequest(name="projects/pp/datasets/listed-1"))
    assert [o.name for o in one.operations] == [started[1].name]
    metadata = common_pb2.OperationMetadata()
    assert waited.metadata.type_url == "type.googleapis.com/ingrain.v1.OperationMetadata"
    assert waited.metadata.Unpack(metadata)
    assert (metadata.target, metadata.verb) == ("projects/pp/datasets/listed-0", "ImportDataset")
    assert (metadata.stage, metadata.completed_count, metadata.attempt_count) == ("working", 1, 1)
    assert metadata.end_time.seconds >= metadata.create_time.seconds > 0


async def test_operations_have_owners(channel: grpc.aio.Channel) -> None:
    stub = ops_grpc.OperationsStub(channel)
    name = (await start_import(channel, "owned")).name
    await stub.WaitOperation(ops.WaitOperationRequest(name=name))
    for kind, project, sees_uri in (
        ("user", "projects/pp", False),
        ("service", "projects/pp", True),
        ("user", "projects/other", None),
    ):
        metadata = ((identity.CALLER_KIND, kind), (identity.CALLER_PROJECT, project))
        call = stub.GetOperation(ops.GetOperationRequest(name=name), metadata=metadata)
        if sees_uri is None:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
            continue
        dataset = pb.Dataset()
        assert (await call).response.Unpack(dataset)
        assert (dataset.uri != "") is sees_uri


@pytest.mark.parametrize(
    ("name", "filter", "field"),
    [("projects/pp", "", "name"), ("projects/pp/datasets", "done=true", "filter"), ("datasets", "", "name")],
)
async def test_lists_refuse_what_they_do_not_know(
    channel: grpc.aio.Channel, name: str, filter: str, field: str
) -> None:
    stub = ops_grpc.OperationsStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListOperations(ops.ListOperationsRequest(name=name, filter=filter))
    error = sdk.from_rpc_error(caught.value)
    assert isinstance(error, sdk.Invalid)
    assert error.field_violations[0].field == field


async def test_it_ends_gracefully_and_another_goes_on(tmp_path: Path) -> None:
    """Calls in flight end, watchers and waiters do not hold it up, new calls are refused, leases are given back."""
    with Served(tmp_path) as served:
        async with grpc.aio.insecure_channel(served.address) as channel:
            await until_serving(channel)
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == SERVING
            operation = await start_import(channel, "hangs", "s3://hangs/once")
            waiting = ops_grpc.OperationsStub(channel).WaitOperation(
                ops.WaitOperationRequest(name=operation.name), timeout=60
            )
            in_flight = pb_grpc.DatasetsStub(channel).GetDataset(
                pb.GetDatasetRequest(name="projects/p/datasets/1.5"), timeout=60
            )
            await asyncio.sleep(1.0)
            begun = time.monotonic()
            os.kill(served.process.pid, signal.SIGTERM)
            assert (await watching.read()).status == NOT_SERVING
            assert (await in_flight).name == "projects/p/datasets/1.5"
            assert not (await waiting).done
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await pb_grpc.DatasetsStub(channel).GetDataset(
                    pb.GetDatasetRequest(name="projects/p/datasets/0"), timeout=5
                )
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert await asyncio.to_thread(served.process.wait, 15) == 0
            assert time.monotonic() - begun < 10
        assert "draining" in {line["event"] for line in served.lines()}
    (tmp_path / "go").touch()
    with Served(tmp_path) as again:
        async with grpc.aio.insecure_channel(again.address) as channel:
            ended = await ops_grpc.OperationsStub(channel).WaitOperation(
                ops.WaitOperationRequest(name=operation.name), timeout=60
            )
    metadata = common_pb2.OperationMetadata()
    assert ended.metadata.Unpack(metadata)
    assert ended.done  # long before its lease of 600 s would have run out
    assert metadata.attempt_count == 1  # a drained attempt does not count


@pytest.mark.parametrize(
    ("host", "token", "refused"),
    [("127.0.0.1", "", False), ("::1", "", False), ("localhost", "", False), ("0.0.0.0", "", True),
     ("[::]", "", True), ("example.org", "", True), ("0.0.0.0", "t", False)],
)  # fmt: skip
def test_a_service_without_gateway_token_stays_on_loopback(host: str, token: str, refused: bool) -> None:
    settings = ServiceSettings(host=host, gateway_token=token)
    if refused:
        with pytest.raises(Invalid, match="GATEWAY_TOKEN"):
            refuse_open_service(settings)
    else:
        refuse_open_service(settings)
