"""What stands behind the augmenter and the evaluator in their tests: the real inference door over the bundled model.

It listens at one address like the gateway's, with stand-ins of the other services beside it, and can be told to fail.
"""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, trainer_pb2, trainer_pb2_grpc
from servicekit import identity
from servicekit.interceptors import CallInterceptor
from servicekit.server import new_server
from servicekit.settings import ServiceSettings

PROJECT = "projects/demo"
MODEL = f"{PROJECT}/models/small"
GATEWAY_TOKEN = "gateway-token-of-the-test"
BUNDLED = Path(__file__).parents[2] / "models" / "small"


class Trouble(grpc.aio.ServerInterceptor):
    """Counts calls by method's name. `away`: name -> (calls that go well first, calls after them that fail);
    `held`: names that wait until `go` is set."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.away: dict[str, tuple[int, int]] = {}
        self.held: set[str] = set()
        self.go = asyncio.Event()

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        name = details.method.rpartition("/")[2]
        self.calls[name] += 1
        well, failing = self.away.get(name, (0, 0))
        if well < self.calls[name] <= well + failing:
            return grpc.unary_unary_rpc_method_handler(_away)
        if name in self.held:
            await self.go.wait()
        self.answered[name] += 1
        return await continuation(details)

    async def until_called(self, name: str) -> None:
        while not self.calls[name]:
            await asyncio.sleep(0.01)


async def _away(request: bytes, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the engine is away")


class Trainer(trainer_pb2_grpc.TrainerServicer):
    def __init__(self, models: dict[str, trainer_pb2.Model]) -> None:
        self.models = models

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        if request.name not in self.models:
            raise identity.not_found(request.name)
        return self.models[request.name]


class Behind:
    """`target` is the gateway of a service under test; `server` takes more stand-ins before it starts."""

    def __init__(self, models: dict[str, trainer_pb2.Model]) -> None:
        self.models = models
        self.trouble = Trouble()
        calls = CallInterceptor(_on_behalf)
        self.server = new_server(ServiceSettings(), [self.trouble, calls])
        self.target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        trainer_pb2_grpc.add_TrainerServicer_to_server(Trainer(models), self.server)


async def _on_behalf(metadata: dict[str, Any]) -> identity.Caller:
    """As the gateway says it: only services call here, each for a project."""
    return identity.Caller("service", "test", str(metadata[identity.ON_BEHALF_OF]))


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, trainer_pb2.Model]:
    """A folder storage with the bundled model in it, and how the trainer describes it."""
    storage = tmp_path_factory.mktemp("storage")
    folder = storage / MODEL / "imported"
    folder.mkdir(parents=True)
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
    files = []
    for name in [*names, "tokenizer_config.json"]:
        shutil.copy(BUNDLED / name, folder / name)
        raw = (folder / name).read_bytes()
        files.append({"name": name, "size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()})
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    shape = json.loads((BUNDLED / "config.json").read_text())
    return storage, trainer_pb2.Model(
        name=MODEL,
        state=common_pb2.ACTIVE,
        parameter_count=1_400_000,
        context_window=shape["max_position_embeddings"],
        layer_count=shape["num_hidden_layers"],
        hidden_size=shape["hidden_size"],
        uri=f"file://{folder}",
        sha256=files[2]["sha256"],
    )


@pytest.fixture
def stand_behind(tmp_path: Path, bundled: tuple[Path, trainer_pb2.Model]) -> Any:
    """`async with stand_behind(add) as behind`; `add(server)` registers the stand-ins that a test needs more."""

    @asynccontextmanager
    async def stand(add: Callable[[grpc.aio.Server], None]) -> AsyncIterator[Behind]:
        from services.inference.__main__ import assemble
        from services.inference.settings import InferenceSettings

        storage, model = bundled
        behind = Behind({MODEL: model})
        settings = InferenceSettings(
            gateway=behind.target,
            service_token=secrets.token_hex(8),
            database_url=f"sqlite:///{tmp_path}/inference.db",
            storage=f"file://{storage}",
            scratch=tmp_path.parent / "scratch",
            inference_backend="inprocess",
            model_names_s=0.0,
        )
        parts = await assemble(settings)
        parts.register(behind.server)
        add(behind.server)
        await behind.server.start()
        tasks = [asyncio.create_task(coroutine) for coroutine in (parts.backend.run(), parts.work())]
        yield behind
        behind.trouble.go.set()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await behind.server.stop(0)
        await parts.database.close()

    return stand


def as_caller(target: str, kind: str = "user", project: str = PROJECT) -> AsyncClient:
    """A client that speaks as the gateway would for a caller of this kind and project."""
    metadata = (
        (identity.GATEWAY_TOKEN, GATEWAY_TOKEN),
        (identity.CALLER_KIND, kind),
        (identity.CALLER_ID, "test"),
        (identity.CALLER_PROJECT, project),
    )
    return AsyncClient(target, project=project, metadata=metadata)


@pytest.fixture
def speak() -> Callable[..., AsyncClient]:
    return as_caller


@pytest.fixture
def serve_parts() -> Any:
    """`async with serve_parts(settings, parts) as target`: a service in this process, its worker at work."""

    @asynccontextmanager
    async def serve(settings: ServiceSettings, parts: Any) -> AsyncIterator[str]:
        server = new_server(settings)
        parts.register(server)
        port = server.add_insecure_port(f"127.0.0.1:{settings.port}")
        await server.start()
        work = asyncio.create_task(parts.worker.run())
        yield f"127.0.0.1:{port}"
        work.cancel()
        await asyncio.wait([work])
        await server.stop(0)
        await parts.database.close()

    return serve


@pytest.fixture
def run_service() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`python -m services.<name>` as a process of its own, serving when this returns; ended after the test."""
    started = []

    def run(name: str, settings: ServiceSettings, **more: str) -> subprocess.Popen[str]:
        values = settings.model_dump(mode="json", exclude_none=True) | {
            "gateway_token": GATEWAY_TOKEN,
            "service_token": settings.service_token.get_secret_value(),
            "log_level": "error",
        }
        variables = {f"INGRAIN_{key.upper()}": str(value) for key, value in (values | more).items()}
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}"],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
