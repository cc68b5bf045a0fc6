"""The augmenter over a socket; behind it the real inference door, which reads the augmenter's own datasets."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient, worlds
from ingrain.v1 import datasets_pb2, datasets_pb2_grpc
from servicekit.database import Database
from servicekit.resources import Resources
from services.augmenter.__main__ import assemble
from services.augmenter.settings import AugmenterSettings

GATEWAY_TOKEN = "gateway-token-of-the-test"


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    """Passes on what inference asks to the augmenter, as a gateway does."""

    def __init__(self) -> None:
        self.client: AsyncClient | None = None

    async def GetDataset(self, request: Any, context: Any) -> datasets_pb2.Dataset:
        assert self.client is not None
        return await self.client.stubs.datasets.GetDataset(request)

    async def ReadRows(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadRowsResponse]:
        assert self.client is not None
        async for message in self.client.stubs.datasets.ReadRows(request):
            yield message


@dataclass
class World:
    """A running augmenter: its settings, what stands behind it, and a user of it."""

    settings: AugmenterSettings
    behind: Any
    user: AsyncClient


@pytest.fixture
def settings(tmp_path: Path, free_port: int) -> AugmenterSettings:
    (tmp_path / "imports").mkdir()
    return AugmenterSettings(
        port=free_port,
        # Clients of the gateway are kept by credential; a port may come again in another test's event loop.
        service_token=secrets.token_hex(8),
        gateway_token=GATEWAY_TOKEN,
        database_url=f"sqlite:///{tmp_path}/augmenter.db",
        storage=f"file://{tmp_path}/storage",
        import_root=tmp_path / "imports",
        lease_s=2.0,
        prompt_batch=16,
    )


@pytest.fixture
async def client(
    settings: AugmenterSettings, serve_parts: Any, speak: Callable[..., AsyncClient]
) -> AsyncIterator[AsyncClient]:
    """A user of the datasets alone: nothing stands behind."""
    async with serve_parts(settings, await assemble(settings)) as target:
        async with speak(target) as user:
            yield user


@pytest.fixture
async def behind(
    settings: AugmenterSettings, stand_behind: Any, speak: Callable[..., AsyncClient]
) -> AsyncIterator[Any]:
    datasets = Datasets()

    def add(server: grpc.aio.Server) -> None:
        datasets_pb2_grpc.add_DatasetsServicer_to_server(datasets, server)

    async with stand_behind(add) as standing:
        async with speak(f"127.0.0.1:{settings.port}", kind="service") as datasets.client:
            yield standing


@pytest.fixture
def wired(settings: AugmenterSettings, behind: Any) -> AugmenterSettings:
    """Settings of an augmenter with everything behind it."""
    return settings.model_copy(update={"gateway": behind.target})


@pytest.fixture
async def world(
    wired: AugmenterSettings, behind: Any, serve_parts: Any, speak: Callable[..., AsyncClient]
) -> AsyncIterator[World]:
    """With `documents`: eight facts of two worlds, each told twice, that the bundled model can read."""
    async with serve_parts(wired, await assemble(wired)) as target:
        async with speak(target) as user:
            await user.datasets.upload(DOCUMENTS, id="documents")
            yield World(wired, behind, user)


DOCUMENTS = worlds.suite(
    seed=901, reversal_worlds=2, facts=4, repeats=2, syllogism_worlds=0, catalogues=0
).documents


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return DOCUMENTS


@pytest.fixture
def derive(settings: AugmenterSettings) -> Callable[..., Awaitable[None]]:
    """Derived datasets as a derivation leaves them, without one: rows that a test chooses, under a source that it names."""

    async def derive(client: AsyncClient, id: str, source: str, rows: list[dict[str, Any]]) -> None:
        made = await client.datasets.upload(rows, id=id)
        database = Database(settings.database_url, schema="augmenter")

        def came_from(dataset: datasets_pb2.Dataset) -> None:
            dataset.provenance.source_dataset = f"projects/demo/datasets/{source}"

        await Resources(database, datasets_pb2.Dataset, "datasets").update(made.name, came_from)
        await database.close()

    return derive


@pytest.fixture
def trace() -> Callable[..., Awaitable[dict[str, tuple[int, list[str]]]]]:
    """Depth and ids by the dataset's id, in the order in which they come."""

    async def trace(client: AsyncClient, dataset: str, *row_ids: str) -> dict[str, tuple[int, list[str]]]:
        request = datasets_pb2.TraceRowsRequest(name=f"projects/demo/datasets/{dataset}", row_ids=row_ids)
        found: dict[str, tuple[int, list[str]]] = {}
        async for message in client.stubs.datasets.TraceRows(request):
            _, ids = found.setdefault(message.dataset.rpartition("/")[2], (message.depth, []))
            ids.extend(message.row_ids)
        return found

    return trace
