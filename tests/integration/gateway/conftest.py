"""A gateway over real sockets, with one backend behind it that plays trainer and augmenter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient
from ingrain.v1 import datasets_pb2, datasets_pb2_grpc, projects_pb2, trainer_pb2, trainer_pb2_grpc
from servicekit import identity, inside
from servicekit.errors import Invalid
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.gateway.server import Gateway, build
from services.gateway.settings import GatewaySettings

GATEWAY_TOKEN, SERVICE_TOKEN, OPERATOR_TOKEN = "gateway-token", "service-token", "operator-token"
LARGE = "x" * (256 << 10)


class Trainer(trainer_pb2_grpc.TrainerServicer):
    """`GetModel` says who calls, `ListModels` does not end, `WatchTraining` breaks after step 2."""

    def __init__(self) -> None:
        self.at_work, self.cancelled = asyncio.Event(), asyncio.Event()
        self.metadata: dict[str, Any] = {}
        self.time_remaining: float | None = None

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining = context.time_remaining()
        identity.authorize(request.name)
        return trainer_pb2.Model(name=request.name, display_name=identity.caller().kind)

    async def ListModels(self, request: Any, context: Any) -> trainer_pb2.ListModelsResponse:
        self.at_work.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return trainer_pb2.ListModelsResponse()

    async def WatchTraining(self, request: Any, context: Any) -> AsyncIterator[trainer_pb2.TrainingSnapshot]:
        for step in range(3):
            yield trainer_pb2.TrainingSnapshot(step=step)
        raise Invalid("IN_THE_MIDDLE", "it broke at step 3", field="step", step=3)


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    """`UploadDataset` counts bytes, and refuses the dataset `refused` half way; `ReadRows` does not end."""

    def __init__(self) -> None:
        self.at_work, self.cancelled = asyncio.Event(), asyncio.Event()
        self.committed = False
        self.sent = 0

    async def UploadDataset(self, requests: Any, context: Any) -> datasets_pb2.Dataset:
        size, name = 0, ""
        try:
            async for request in requests:
                name = request.header.dataset_id or name
                size += len(request.chunk)
                self.at_work.set()
                if name == "refused" and size > 1 << 20:
                    raise Invalid("BAD_ROW", "row 7 is no JSON", field="rows[6]")
            await asyncio.sleep(0)  # where a cancellation arrives
            self.committed = True
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return datasets_pb2.Dataset(name="projects/default/datasets/d", size_bytes=size)

    async def ReadRows(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadRowsResponse]:
        try:
            while True:
                self.sent += 1
                yield datasets_pb2.ReadRowsResponse(rows=[LARGE])
        finally:
            self.cancelled.set()


class Platform:
    def __init__(self, gateway: Gateway, trainer: Trainer, datasets: Datasets) -> None:
        self.gateway = gateway
        self.address = f"127.0.0.1:{gateway.port}"
        self.trainer = trainer
        self.datasets = datasets

    def database_files(self) -> list[Path]:
        file = Path(self.gateway.database.engine.url.database or "")
        return [path for path in file.parent.iterdir() if path.name.startswith(file.name)]

    def client(self, key: str = "", **metadata: str) -> AsyncClient:
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        return AsyncClient(self.address, api_key=key, metadata=pairs, timeout_s=10)

    async def new_key(self, **fields: Any) -> projects_pb2.CreateKeyResponse:
        async with self.client(OPERATOR_TOKEN) as client:
            request = projects_pb2.CreateKeyRequest(parent="projects/default", key=projects_pb2.Key(**fields))
            return await client.stubs.keys.CreateKey(request)

    async def status(self, method: str, authorization: str = "", request: bytes = b"") -> grpc.StatusCode:
        """What a bare call is answered with."""
        metadata = [("authorization", authorization)] if authorization else []
        async with grpc.aio.insecure_channel(self.address) as channel:
            call = channel.unary_stream(method)(request, metadata=metadata, timeout=10)
            try:
                async for _ in call:
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK


Start = Callable[..., AbstractAsyncContextManager[Platform]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a platform with settings of the test's own; `backend_files`: what its backend shows and wants to see."""

    @asynccontextmanager
    async def start(backend_files: inside.Files | None = None, **settings: Any) -> AsyncIterator[Platform]:
        backend = new_server(ServiceSettings(gateway_token=GATEWAY_TOKEN))
        trainer, datasets = Trainer(), Datasets()
        trainer_pb2_grpc.add_TrainerServicer_to_server(trainer, backend)
        datasets_pb2_grpc.add_DatasetsServicer_to_server(datasets, backend)
        port = (
            backend.add_secure_port("127.0.0.1:0", inside.server_credentials(backend_files))
            if backend_files
            else backend.add_insecure_port("127.0.0.1:0")
        )
        address = f"127.0.0.1:{port}"
        await backend.start()
        fixed = {
            "database_url": f"sqlite:///{tmp_path / 'gateway.sqlite'}",
            "gateway_token": GATEWAY_TOKEN,
            "service_token": SERVICE_TOKEN,
            "operator_token": OPERATOR_TOKEN,
            "backend_trainer": address,
            "backend_augmenter": address,
            # Nobody is there, whoever may listen at the defaults.
            "backend_studies": "127.0.0.1:9",
            "backend_inference": "127.0.0.1:9",
            "backend_evaluator": "127.0.0.1:9",
        }
        gateway = await build(GatewaySettings(**(fixed | settings)))
        await gateway.server.start()
        yield Platform(gateway, trainer, datasets)
        await gateway.stop(0)
        await backend.stop(0)

    return start


@pytest.fixture
async def platform(start: Start) -> AsyncIterator[Platform]:
    """The gateway of one machine: who shows nothing is the operator."""
    async with start() as running:
        yield running


@pytest.fixture
async def closed(start: Start) -> AsyncIterator[Platform]:
    """The gateway of a cluster: keys are required."""
    async with start(require_keys=True) as running:
        yield running
