"""A gateway with HTTP over real sockets, in front of real inference with tiny models; trainer, datasets and studies are
one stand-in behind it."""

import asyncio
import importlib.util
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import openai
import pytest

from ingrain import AsyncClient
from ingrain.v1 import (
    common_pb2,
    datasets_pb2_grpc,
    evaluator_pb2_grpc,
    inference_pb2,
    projects_pb2,
    studies_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)
from servicekit import identity
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.augmenter.__main__ import assemble as assemble_augmenter
from services.augmenter.settings import AugmenterSettings
from services.gateway.server import Gateway, build
from services.gateway.settings import GatewaySettings
from services.inference.settings import InferenceSettings

GATEWAY_TOKEN, OPERATOR_TOKEN = "gateway-token", "operator-token"
PROJECTS = ("projects/default", "projects/demo")
PAGE = 2  # the stand-in's, so that lists have several


def load(name: str, *path: str) -> ModuleType:
    """A module of other tests."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[3].joinpath(*path))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


inference_tests = load("inference_test_conftest", "integration", "inference", "conftest.py")
tiny = inference_tests.load_tiny()


class Behind(inference_tests.Gateway):  # type: ignore[misc, name-defined]
    """The stand-in; a caller sees the models of their own project."""

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        identity.authorize(request.name)
        return await super().GetModel(request, context)

    async def ListModels(self, request: Any, context: Any) -> trainer_pb2.ListModelsResponse:
        project = identity.authorize(request.parent)
        found = [model for name, model in self.models.items() if name.startswith(f"{project}/")]
        start = int(request.page_token or 0)
        more = str(start + PAGE) if start + PAGE < len(found) else ""
        return trainer_pb2.ListModelsResponse(models=found[start : start + PAGE], next_page_token=more)


class Platform:
    """`url` is that of OpenAI's clients."""

    def __init__(self, gateway: Gateway, behind: Behind) -> None:
        assert gateway.http is not None
        self.gateway, self.behind = gateway, behind
        self.clients: list[openai.AsyncOpenAI] = []
        self.address = f"127.0.0.1:{gateway.port}"
        self.root = f"http://127.0.0.1:{gateway.http.port}"
        self.url = f"{self.root}/v1"

    def openai(self, key: str = OPERATOR_TOKEN, **options: Any) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(base_url=self.url, api_key=key, **({"max_retries": 0} | options))
        self.clients.append(client)
        return client

    def grpc(self, project: str = "default", key: str = OPERATOR_TOKEN) -> AsyncClient:
        return AsyncClient(self.address, project=project, api_key=key, timeout_s=60)

    async def new_key(self, project: str = "projects/default", **fields: Any) -> str:
        request = projects_pb2.CreateKeyRequest(parent=project, key=projects_pb2.Key(**fields))
        async with self.grpc() as client:
            return (await client.stubs.keys.CreateKey(request)).secret

    async def post(
        self, path: str, body: Any = None, key: str = OPERATOR_TOKEN, **headers: str
    ) -> tuple[int, Any, Any]:
        """Status, headers and JSON of a bare call; `body` may be bytes."""
        status, answered, text = await self.post_text(path, body, key, **headers)
        return status, answered, json.loads(text)

    async def post_text(
        self, path: str, body: Any = None, key: str = OPERATOR_TOKEN, **headers: str
    ) -> tuple[int, Any, str]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.root + path, data=raw, headers=sent) as answer,
        ):
            return answer.status, answer.headers, await answer.text()

    async def idle(self) -> bool:
        """Whether the engine comes to compute nothing."""
        async with self.grpc() as client:
            for _ in range(100):
                engine = await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest())
                if engine.replica.running_count + engine.replica.waiting_count == 0:
                    return True
                await asyncio.sleep(0.05)
        return False


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, trainer_pb2.Model]]:
    """A folder storage with a model, one with a chat template, and what the trainer says of them."""
    root, models = tmp_path_factory.mktemp("http"), {}
    for number, name in enumerate(("base", "chat")):
        tiny.make_model(root / name, "llama", number + 1, chat=name == "chat")
        uri, sha256 = tiny.publish(root / name, root / "storage", f"{name}/a")
        for project in PROJECTS:
            full = f"{project}/models/{name}"
            models[full] = trainer_pb2.Model(
                name=full,
                state=common_pb2.ACTIVE,
                parameter_count=100_000,
                context_window=tiny.WINDOW,
                layer_count=2,
                hidden_size=64,
                chat_template=name == "chat",
                uri=uri,
                sha256=sha256,
            )
            models[full].create_time.FromSeconds(1_700_000_000 + number)
    for project in PROJECTS:
        models[f"{project}/models/made"] = trainer_pb2.Model(
            name=f"{project}/models/made", state=common_pb2.CREATING
        )
    return root / "storage", models


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Of the models without a chat template."""
    return tiny.make_tokenizer()


Start = Callable[..., AbstractAsyncContextManager[Platform]]


@pytest.fixture
def start(storage: tuple[Path, dict[str, trainer_pb2.Model]], tmp_path: Path) -> Start:
    """Starts a platform, with settings of the gateway of the test's own."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Platform]:
        behind = Behind()
        behind.models.update(storage[1])
        for project in PROJECTS:
            behind.rows[f"{project}/datasets/documents"] = inference_tests.DOCUMENTS
        others = new_server(ServiceSettings(gateway_token=GATEWAY_TOKEN))
        for add in (
            trainer_pb2_grpc.add_TrainerServicer_to_server,
            datasets_pb2_grpc.add_DatasetsServicer_to_server,
            evaluator_pb2_grpc.add_EvaluatorServicer_to_server,
            studies_pb2_grpc.add_StudiesServicer_to_server,
        ):
            add(behind, others)
        others_at = f"127.0.0.1:{others.add_insecure_port('127.0.0.1:0')}"
        await others.start()
        port = free_port()
        # Clients of the gateway are kept by credential, and a port may come again in another test's event loop.
        service_token = secrets.token_hex(8)
        inference = InferenceSettings(
            gateway=f"127.0.0.1:{port}",
            service_token=service_token,
            gateway_token=GATEWAY_TOKEN,
            database_url=f"sqlite:///{tmp_path}/inference.db",
            storage=f"file://{storage[0]}",
            scratch=tmp_path / "scratch",
            inference_backend="inprocess",
            model_names_s=0.0,
        )
        async with inference_tests.serving(inference) as inference_at:
            fixed = {
                "port": port,
                "http_port": 0,
                "drain_s": 10.0,
                "database_url": f"sqlite:///{tmp_path / 'gateway.sqlite'}",
                "gateway_token": GATEWAY_TOKEN,
                "service_token": service_token,
                "operator_token": OPERATOR_TOKEN,
                "backend_trainer": others_at,
                "backend_augmenter": others_at,
                "backend_studies": others_at,
                "backend_evaluator": others_at,
                "backend_inference": inference_at,
            }
            gateway = await build(GatewaySettings(**(fixed | settings)))
            await gateway.server.start()
            platform = Platform(gateway, behind)
            yield platform
            for client in platform.clients:
                await client.close()
            await gateway.stop(0)
        await others.stop(0)

    return start


@pytest.fixture
async def datasets(storage: tuple[Path, Any], tmp_path: Path) -> AsyncIterator[str]:
    """The address of real datasets, over the same storage."""
    settings = AugmenterSettings(
        database_url=f"sqlite:///{tmp_path}/augmenter.db",
        storage=f"file://{storage[0]}",
        gateway_token=GATEWAY_TOKEN,
    )
    parts = await assemble_augmenter(settings)
    server = new_server(settings)
    parts.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
    await parts.database.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def platform(start: Start) -> AsyncIterator[Platform]:
    """Keys are required."""
    async with start(require_keys=True) as running:
        yield running
