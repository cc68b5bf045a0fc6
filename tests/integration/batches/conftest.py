"""The Batches service over sockets: the real augmenter behind it, a model that echoes in front."""

import asyncio
import importlib.util
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient
from ingrain.v1 import batches_pb2, batches_pb2_grpc, common_pb2, trainer_pb2, trainer_pb2_grpc
from servicekit import identity
from servicekit.interceptors import CallInterceptor
from servicekit.operations import add_operations
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.augmenter.__main__ import assemble as assemble_augmenter
from services.augmenter.settings import AugmenterSettings
from services.inference.batches.servicer import BatchServicer
from services.inference.settings import InferenceSettings

PROJECT = "projects/demo"
MODEL = f"{PROJECT}/models/echo"


def load_process() -> ModuleType:
    """The service in miniature, which the script that is killed runs too."""
    name = "batch_process"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("batch_process.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Trainer(trainer_pb2_grpc.TrainerServicer):
    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        if request.name != MODEL:
            raise identity.not_found(request.name)
        return trainer_pb2.Model(
            name=MODEL,
            state=common_pb2.ACTIVE,
            sha256="a" * 64,
            context_window=1000,
            parameter_count=1000,
            layer_count=2,
            hidden_size=8,
        )


async def _on_behalf(metadata: dict[str, Any]) -> identity.Caller:
    return identity.Caller("service", "test", str(metadata.get(identity.ON_BEHALF_OF, PROJECT)))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[str]:
    """Where datasets are, and the model that is asked."""
    settings = AugmenterSettings(
        database_url=f"sqlite:///{tmp_path}/augmenter.db", storage=f"file://{tmp_path}/storage"
    )
    parts = await assemble_augmenter(settings)
    server = new_server(ServiceSettings(), [CallInterceptor(_on_behalf)])
    parts.register(server)
    trainer_pb2_grpc.add_TrainerServicer_to_server(Trainer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
    await parts.database.close()


@pytest.fixture
def settings(gateway: str, tmp_path: Path) -> InferenceSettings:
    return InferenceSettings(
        gateway=gateway,
        service_token=secrets.token_hex(8),
        database_url=f"sqlite:///{tmp_path}/inference.db",
        storage=f"file://{tmp_path}/storage",
        lease_s=1.0,
    )


@pytest.fixture
async def datasets(gateway: str) -> AsyncIterator[AsyncClient]:
    """A client of the gateway, to put rows in and read answers."""
    async with AsyncClient(gateway, project="demo") as client:
        yield client


class World:
    """A server of Batches; its worker works once `work` is called."""

    def __init__(self, service: Any, door: Any, client: AsyncClient, datasets: AsyncClient) -> None:
        self.service, self.door, self.client, self.datasets = service, door, client, datasets
        self._working: asyncio.Task[None] | None = None

    async def create(self, rows: list[dict[str, Any]], kind: str = "prompts", **batch: Any) -> Any:
        """The operation of a batch over these rows."""
        dataset = (await self.datasets.datasets.upload(rows, kind=kind)).name
        request = batches_pb2.CreateBatchRequest(
            parent=PROJECT,
            batch_id=batch.pop("id", "b-1"),
            validate_only=batch.pop("validate_only", False),
            batch=batches_pb2.Batch(**{"model": MODEL, "dataset": dataset} | batch),
        )
        return await self.stub.CreateBatch(request)

    async def answers(self, rows: list[dict[str, Any]], **batch: Any) -> list[dict[str, Any]]:
        self.work()
        made = await self.client.operations.wait(await self.create(rows, **batch), timeout_s=60)
        return await self.read(made.name)

    async def read(self, dataset: str) -> list[dict[str, Any]]:
        return [row async for row in self.datasets.datasets.rows(dataset)]

    async def get(self, id: str = "b-1") -> batches_pb2.Batch:
        return await self.stub.GetBatch(batches_pb2.GetBatchRequest(name=f"{PROJECT}/batches/{id}"))

    @property
    def stub(self) -> Any:
        return self.client.stubs.batches

    def work(self) -> None:
        if self._working is None:
            self._working = asyncio.create_task(self.service.worker.run())

    async def stop(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            self._working = None


@pytest.fixture
async def world(settings: InferenceSettings, datasets: AsyncClient) -> AsyncIterator[World]:
    process = load_process()
    door = process.Echo()
    service = await process.assemble(settings, door)
    server: grpc.aio.Server = new_server(ServiceSettings(), [CallInterceptor(_on_behalf)])
    batches_pb2_grpc.add_BatchesServicer_to_server(BatchServicer(service.batches), server)
    add_operations(server, service.operations)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", project="demo") as client:
        world = World(service, door, client, datasets)
        yield world
        door.go.set()
        await world.stop()
    await server.stop(0)
    await service.database.close()


@pytest.fixture
def batch_process() -> ModuleType:
    return load_process()


Create = Callable[..., Any]
