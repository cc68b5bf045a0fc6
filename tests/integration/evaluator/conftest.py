"""The evaluator over a socket; behind it the real inference door and datasets in memory."""

import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, datasets_pb2, datasets_pb2_grpc
from ingrain.worlds.suite import suite
from servicekit import identity
from servicekit.errors import AlreadyExists
from services.evaluator.__main__ import assemble
from services.evaluator.settings import EvaluatorSettings

PROJECT = "projects/demo"
GATEWAY_TOKEN = "gateway-token-of-the-test"
WORLDS = suite(
    seed=902, reversal_worlds=4, facts=2, repeats=1, syllogism_worlds=1, syllogism_count=2, catalogues=1
)
# A catalogue asks the same of each of its tools: a few of them will do.
PROBES = [p for p in WORLDS.probes if p["kind"] == "list" or int(p["id"].rsplit("-", 1)[1]) < 8]


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    """`rows` by name; what has `text` are documents, all else probes."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.unfinished: set[str] = set()
        self.uploads: dict[str, str] = {}
        self.labels: dict[str, dict[str, str]] = {}

    def add(self, id: str, rows: list[dict[str, Any]]) -> None:
        self.rows[f"{PROJECT}/datasets/{id}"] = rows

    async def GetDataset(self, request: Any, context: Any) -> datasets_pb2.Dataset:
        if request.name not in self.rows:
            raise identity.not_found(request.name)
        rows = self.rows[request.name]
        kind = datasets_pb2.Dataset.DOCUMENTS if "text" in rows[0] else datasets_pb2.Dataset.PROBES
        state = common_pb2.CREATING if request.name in self.unfinished else common_pb2.ACTIVE
        return datasets_pb2.Dataset(
            name=request.name, kind=kind, state=state, row_count=len(rows), sha256="d" * 64
        )

    async def UploadDataset(self, requests: Any, context: Any) -> datasets_pb2.Dataset:
        messages = [message async for message in requests]
        header = messages[0].header
        name = f"{header.parent}/datasets/{header.dataset_id}"
        lines = b"".join(message.chunk for message in messages[1:]).splitlines()
        if name in self.rows and self.uploads.get(name) != header.request_id:
            raise AlreadyExists("NAME_TAKEN", f"{name} exists already")
        self.rows[name], self.uploads[name] = [json.loads(line) for line in lines], header.request_id
        self.labels[name] = dict(header.dataset.labels)
        made = await self.GetDataset(datasets_pb2.GetDatasetRequest(name=name), context)
        made.labels.update(self.labels[name])
        return made

    async def ReadRows(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadRowsResponse]:
        rows = self.rows[request.name]
        for number in range(request.start_row, len(rows), 20):
            texts = [json.dumps(row) for row in rows[number : number + 20]]
            yield datasets_pb2.ReadRowsResponse(rows=texts, start_row=number)


@dataclass
class World:
    """A running evaluator: its settings, what stands behind it, the datasets, and a user of it."""

    settings: EvaluatorSettings
    behind: Any
    datasets: Datasets
    user: AsyncClient

    async def evaluated(self, id: str, probes: str = "probes", **how: Any) -> Any:
        operation = await self.user.evaluations.create("small", probes, id, **how)
        return await operation.result(timeout_s=180)

    async def results(self, id: str) -> dict[str, dict[str, Any]]:
        return {row["id"]: row async for row in self.user.evaluations.results(id)}

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[AsyncClient]:
        """A user for whom the evaluator and the datasets are at one address, as behind the gateway."""
        behalf = (("ingrain-on-behalf-of", PROJECT),)
        async with AsyncClient(self.behind.target, project=PROJECT, metadata=behalf) as client:
            client.stubs.evaluator = self.user.stubs.evaluator
            yield client


@pytest.fixture
def datasets() -> Datasets:
    made = Datasets()
    made.add("documents", WORLDS.documents)
    made.add("probes", PROBES)
    made.add("reversals", [probe for probe in PROBES if "reversals" in probe["metadata"]["world"]])
    return made


@pytest.fixture
async def behind(datasets: Datasets, stand_behind: Any) -> AsyncIterator[Any]:
    def add(server: grpc.aio.Server) -> None:
        datasets_pb2_grpc.add_DatasetsServicer_to_server(datasets, server)

    async with stand_behind(add) as standing:
        yield standing


@pytest.fixture
def settings(tmp_path: Path, free_port: int, behind: Any) -> EvaluatorSettings:
    return EvaluatorSettings(
        port=free_port,
        gateway=behind.target,
        # Clients of the gateway are kept by credential; a port may come again in another test's event loop.
        service_token=secrets.token_hex(8),
        gateway_token=GATEWAY_TOKEN,
        database_url=f"sqlite:///{tmp_path}/evaluator.db",
        storage=f"file://{tmp_path}/storage",
        lease_s=2.0,
        probe_batch=16,
    )


@pytest.fixture
async def world(
    settings: EvaluatorSettings,
    behind: Any,
    datasets: Datasets,
    serve_parts: Any,
    speak: Callable[..., AsyncClient],
) -> AsyncIterator[World]:
    async with serve_parts(settings, await assemble(settings)) as target:
        async with speak(target) as user:
            yield World(settings, behind, datasets, user)


@pytest.fixture
def probes() -> list[dict[str, Any]]:
    return PROBES


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return WORLDS.documents
