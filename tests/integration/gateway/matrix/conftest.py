"""The whole platform behind one gateway, with something in it to be kept from others."""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient
from ingrain.v1 import (
    aliases_pb2,
    batches_pb2,
    common_pb2,
    evaluator_pb2,
    inference_pb2,
    studies_pb2,
    trainer_pb2,
    trainer_pb2_grpc,
)
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from servicekit.storage import open_storage
from services.augmenter.__main__ import assemble as augmenter
from services.augmenter.settings import AugmenterSettings
from services.evaluator.__main__ import assemble as evaluator
from services.evaluator.settings import EvaluatorSettings
from services.gateway.server import build
from services.gateway.settings import GatewaySettings
from services.inference.__main__ import assemble as inference
from services.inference.settings import InferenceSettings
from services.studies.__main__ import assemble as studies
from services.studies.settings import StudiesSettings
from services.trainer.attempts import Attempts
from services.trainer.history import History
from services.trainer.importing import Importing
from services.trainer.jobs import RayJobs
from services.trainer.models import Models
from services.trainer.parts import Uploads
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings
from services.trainer.training import Trainings

GATEWAY_TOKEN, OPERATOR_TOKEN = "gateway-token", "operator-token"


class Whole:
    """A gateway with the real services behind it, whose workers and engines do not run: what is begun stays PENDING.

    Two projects have one of everything each, under the same ids; `default` has operations and keys besides."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.operations: dict[str, str] = {}  # by collection
        self.keys: dict[str, str] = {}

    def client(self, key: str, project: str = "default") -> AsyncClient:
        return AsyncClient(self.address, project=project, api_key=key, timeout_s=20)

    async def fill(self, databases: dict[str, Any]) -> None:
        """By the front door where that is quick, else by rows."""
        async with self.client(OPERATOR_TOKEN) as client:
            await client.projects.create("other")
        for project in ("default", "other"):
            await put_rows(databases, project)
            async with self.client(OPERATOR_TOKEN, project) as client:
                await client.datasets.upload([{"id": "a", "text": "b"}], "docs", kind="documents")
                probe = {"id": "p", "kind": "k", "prompt": "a", "choices": ["b", "c"], "answer": "b"}
                await client.datasets.upload([probe], "probes", kind="probes")
        async with self.client(OPERATOR_TOKEN) as client:
            begun = [
                await client.datasets.import_("s3://bucket/rows.jsonl", "imported"),
                await client.models.import_("bundled://small", "imported"),
                await client.contexts.create("one", "docs", "begun"),
                await client.batches.create("one", "probes", "begun"),
                await client.evaluations.create("one", "probes", "begun"),
                await client.evaluations.generate_probes("docs", "one", "written"),
                await client.studies.create("docs", "probes", "one", "begun"),
            ]
            self.operations = {operation.name.split("/")[2]: operation.name for operation in begun}
            week = timedelta(days=7)
            self.keys = {
                "good": (await client.keys.create("good", expire_time=week)).secret,
                "read-only": (await client.keys.create("reads", read_only=True)).secret,
                "ask": (await client.keys.create("asks", scopes=["ask"])).secret,
                "expired": (await client.keys.create("ended", expire_time=-week)).secret,
            }
            revoked = await client.keys.create("revoked")
            await client.keys.revoke(revoked.key.name)
            self.keys["revoked"] = revoked.secret
        async with self.client(OPERATOR_TOKEN, "other") as client:
            self.keys["other project"] = (await client.keys.create("stranger")).secret


async def put_rows(databases: dict[str, Any], project: str) -> None:
    for collection, message in (
        ("models", trainer_pb2.Model(context_window=128, sha256="a" * 64, uri="file:///none")),
        ("contexts", inference_pb2.Context(dataset=f"projects/{project}/datasets/docs")),
        ("batches", batches_pb2.Batch(dataset=f"projects/{project}/datasets/docs")),
        ("evaluations", evaluator_pb2.Evaluation()),
        ("studies", studies_pb2.Study()),
        ("aliases", aliases_pb2.Alias(target=f"projects/{project}/models/one")),
    ):
        message.name = f"projects/{project}/{collection}/one"
        if collection != "aliases":
            message.state = common_pb2.ACTIVE
        await Resources(databases[collection], type(message), collection).insert(message)


@pytest.fixture
async def whole(tmp_path: Path, free_port: int) -> AsyncIterator[Whole]:
    def settings_of(kind: Any, name: str, **more: Any) -> Any:
        return kind(
            gateway=f"127.0.0.1:{free_port}",
            gateway_token=GATEWAY_TOKEN,
            service_token=service_token,
            database_url=f"sqlite:///{tmp_path / name}.sqlite",
            storage=f"file://{tmp_path / 'storage'}",
            scratch=tmp_path / "scratch",
            **more,
        )

    service_token = secrets.token_hex(8)  # clients of the gateway are kept by it
    parts = {
        "augmenter": await augmenter(settings_of(AugmenterSettings, "augmenter")),
        "trainer": await trainer_parts(settings_of(TrainerSettings, "trainer", estimate_by_trial=False)),
        "inference": await inference(
            settings_of(InferenceSettings, "inference", inference_backend="proxy", serve_proxy="127.0.0.1:9")
        ),
        "evaluator": await evaluator(settings_of(EvaluatorSettings, "evaluator")),
        "studies": await studies(settings_of(StudiesSettings, "studies")),
    }
    servers, backends = [], {}
    for name, part in parts.items():
        server = new_server(ServiceSettings(gateway_token=GATEWAY_TOKEN))
        part.register(server)
        backends[f"backend_{name}"] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        servers.append(server)
    gateway = await build(
        settings_of(
            GatewaySettings,
            "gateway",
            port=free_port,
            operator_token=OPERATOR_TOKEN,
            require_keys=True,
            **backends,
        )
    )
    await gateway.server.start()
    running = Whole(f"127.0.0.1:{gateway.port}")
    owner = {"models": "trainer", "evaluations": "evaluator", "studies": "studies"}
    collections = ("models", "contexts", "batches", "evaluations", "studies", "aliases")
    await running.fill({one: parts[owner.get(one, "inference")].database for one in collections})
    yield running
    await gateway.stop(0)
    for server in servers:
        await server.stop(0)
    for part in parts.values():
        await part.database.close()


@dataclass(frozen=True)
class TrainerParts:
    database: Database
    register: Callable[[grpc.aio.Server], None]


async def trainer_parts(settings: TrainerSettings) -> TrainerParts:
    """As `services.trainer.__main__` puts them together."""
    database = Database(settings.database_url, schema="trainer")
    await database.create_all()
    rows = Resources(database, trainer_pb2.Model, "models")
    operations, storage = Operations(database, {"models": rows}), open_storage(settings)
    models, attempts = Models(rows, storage), Attempts(database)
    history = History(attempts, models, storage)
    importing = Importing(settings, models, Uploads(database, storage, settings))
    trainings = Trainings(settings, storage, models, attempts, history, RayJobs(settings))

    def register(server: grpc.aio.Server) -> None:
        servicer = TrainerServicer(settings, models, operations, importing, trainings, history)
        trainer_pb2_grpc.add_TrainerServicer_to_server(servicer, server)
        add_operations(server, operations)

    return TrainerParts(database, register)
