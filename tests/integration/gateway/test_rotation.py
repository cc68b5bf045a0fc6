"""Tokens of gateway and services are changed under an operation that asks the gateway all the time: it goes on to its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.longrunning import operations_pb2

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import datasets_pb2_grpc as pb_grpc
from servicekit import identity
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from servicekit.worker import Task, Worker
from services.gateway.server import Gateway, build
from services.gateway.settings import GatewaySettings
from services.supervisor.plan import free_ports

OPERATOR = "operator"
OLD, BOTH, TURNED, NEW = "old-{}", "old-{0},new-{0}", "new-{0}, old-{0}", "new-{}"


class Datasets(pb_grpc.DatasetsServicer):
    def __init__(self, datasets: Resources[pb.Dataset], operations: Operations) -> None:
        self.datasets, self.operations = datasets, operations

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.Dataset:
        return await self.datasets.get(request.name)

    async def ImportDataset(self, request: pb.ImportDatasetRequest, context: Any) -> operations_pb2.Operation:
        dataset = pb.Dataset(name=f"{request.parent}/datasets/{request.dataset_id}")
        return await self.operations.start("ImportDataset", request, dataset)


class Platform:
    """A gateway and a service, each of which is started anew with other tokens while the other runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        gateway, service = free_ports(2)
        self.gateway_address, self.service_address = f"127.0.0.1:{gateway}", f"127.0.0.1:{service}"
        self.calls, self.may_end = 0, asyncio.Event()
        self._end: dict[str, Callable[[], Awaitable[None]]] = {}

    async def restart(self, which: str, tokens: str, **more: str) -> None:
        await self.end(which)
        shown = {f"{name}_token": tokens.format(name) for name in ("service", "gateway")} | more
        self._end[which] = await (self._gateway(shown) if which == "gateway" else self._service(shown))

    async def end(self, which: str) -> None:
        if which in self._end:
            await self._end.pop(which)()

    async def _gateway(self, tokens: dict[str, str]) -> Callable[[], Awaitable[None]]:
        gateway: Gateway = await build(
            GatewaySettings(
                port=int(self.gateway_address.rpartition(":")[2]),
                database_url=f"sqlite:///{self.folder / 'gateway.sqlite'}",
                backend_augmenter=self.service_address,
                operator_token=OPERATOR,
                require_keys=True,
                **tokens,
            )
        )
        await gateway.server.start()
        return lambda: gateway.stop(0)

    async def _service(self, tokens: dict[str, str]) -> Callable[[], Awaitable[None]]:
        settings = ServiceSettings(gateway=self.gateway_address, drain_s=5, **tokens)
        database = Database(f"sqlite:///{self.folder / 'service.sqlite'}")
        await database.create_all()
        datasets = Resources(database, pb.Dataset, "datasets")
        operations = Operations(database, {"datasets": datasets})

        async def handler(task: Task, request: pb.ImportDatasetRequest) -> pb.Dataset:
            while not self.may_end.is_set():
                # On a cluster the next gateway is there before the last one goes.
                with contextlib.suppress(errors.Unavailable):
                    await gateway_client(settings, task.project).datasets.get(task.target)
                    self.calls += 1
            return await datasets.get(task.target)

        server = new_server(settings)
        pb_grpc.add_DatasetsServicer_to_server(Datasets(datasets, operations), server)
        add_operations(server, operations)
        server.add_insecure_port(self.service_address)
        await server.start()
        worker = Worker(operations, {"ImportDataset": (pb.ImportDatasetRequest, handler)}, settings)
        working = asyncio.create_task(worker.run())

        async def end() -> None:
            working.cancel()
            await asyncio.wait([working])
            await server.stop(0)
            await database.close()

        return end

    async def goes_on(self) -> None:
        """Until the operation has asked the gateway three times more, whoever runs it now."""
        wanted = self.calls + 3
        while self.calls < wanted:
            await asyncio.sleep(0.02)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    made = Platform(tmp_path)
    yield made
    made.may_end.set()
    await made.end("service")
    await made.end("gateway")


async def begun(platform: Platform, client: AsyncClient) -> Any:
    await platform.restart("gateway", OLD)
    await platform.restart("service", OLD)
    request = pb.ImportDatasetRequest(
        parent="projects/default", source_uri="s3://b/rows.jsonl", dataset_id="docs"
    )
    operation = await client.stubs.datasets.ImportDataset(request)
    await platform.goes_on()
    return operation


@pytest.mark.parametrize("order", [("gateway", "service"), ("service", "gateway")], ids="-then-".join)
async def test_an_operation_outlives_a_change_of_tokens(platform: Platform, order: tuple[str, str]) -> None:
    async with AsyncClient(platform.gateway_address, api_key=OPERATOR) as client:
        operation = await begun(platform, client)
        for tokens in (BOTH, TURNED, NEW):
            for which in order:
                await platform.restart(which, tokens)
                await asyncio.wait_for(platform.goes_on(), 60)
        platform.may_end.set()
        ended = await asyncio.wait_for(client.operations.wait(operation.name), 60)
        assert ended.name == "projects/default/datasets/docs"
    # What was shown before opens nothing any more.
    forged = ((identity.GATEWAY_TOKEN, OLD.format("gateway")), (identity.CALLER_KIND, "operator"))
    async with (
        AsyncClient(platform.gateway_address, api_key=OLD.format("service")) as as_service,
        AsyncClient(platform.service_address, metadata=forged) as as_gateway,
    ):
        for client in (as_service, as_gateway):
            with pytest.raises(errors.Unauthenticated):
                await client.datasets.get("docs")


async def test_a_change_at_one_stroke_ends_it(platform: Platform) -> None:
    """So that the one above tells something, and the page is right to ask for three steps."""
    async with AsyncClient(platform.gateway_address, api_key=OPERATOR) as client:
        operation = await begun(platform, client)
        await platform.restart("service", OLD, service_token=NEW.format("service"))
        with pytest.raises(errors.OperationFailed) as ended:
            await asyncio.wait_for(client.operations.wait(operation.name), 60)
        assert isinstance(ended.value.cause, errors.Unauthenticated)
