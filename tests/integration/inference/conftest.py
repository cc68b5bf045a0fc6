"""The door over a socket, the engine in its process, and a gateway's stand-in with models, datasets and studies."""

import asyncio
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ingrain import AsyncClient
from ingrain.v1 import (
    common_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
    evaluator_pb2,
    evaluator_pb2_grpc,
    studies_pb2,
    studies_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)
from servicekit.errors import NotFound
from servicekit.identity import not_found
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.inference.__main__ import assemble
from services.inference.settings import InferenceSettings

PROJECT = "projects/demo"
GATEWAY_TOKEN = "gateway-token-of-the-test"
DOCUMENTS = [
    {"id": "1", "text": "the bralo is bigger than the cemid.", "metadata": {"world": "w1", "fact": 1}},
    {"id": "2", "text": "a bralo, bigger than a cemid.", "metadata": {"world": "w1", "fact": 1}},
    {"id": "3", "text": "a dovun was seen near the old bridge.", "metadata": {"world": "w2", "fact": 2}},
]


def load_tiny() -> ModuleType:
    """The builder of tiny models, shared with the unit tests."""
    name = "inference_test_models"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "unit" / "inference" / "tiny.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Gateway(
    trainer_pb2_grpc.TrainerServicer,
    datasets_pb2_grpc.DatasetsServicer,
    evaluator_pb2_grpc.EvaluatorServicer,
    studies_pb2_grpc.StudiesServicer,
):
    """Answers from `models`, `rows`, `evaluations` and `studies`, all by name, and counts the calls."""

    def __init__(self) -> None:
        self.models: dict[str, trainer_pb2.Model] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.kinds: dict[str, int] = {}
        self.studies: dict[str, studies_pb2.Study] = {}
        self.evaluations: dict[str, evaluator_pb2.Evaluation] = {}
        self.reads = 0
        self.target = ""

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        return self._found(self.models, request.name)

    async def GetDataset(self, request: Any, context: Any) -> datasets_pb2.Dataset:
        rows = self._found(self.rows, request.name)
        kind = self.kinds.get(request.name, datasets_pb2.Dataset.DOCUMENTS)
        return datasets_pb2.Dataset(
            name=request.name, kind=kind, state=common_pb2.ACTIVE, row_count=len(rows), sha256="d" * 64
        )

    async def ReadRows(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadRowsResponse]:
        self.reads += 1
        rows = self._found(self.rows, request.name)
        for number in range(request.start_row, len(rows), 2):
            texts = [json.dumps(row) for row in rows[number : number + 2]]
            yield datasets_pb2.ReadRowsResponse(rows=texts, start_row=number)

    async def GetEvaluation(self, request: Any, context: Any) -> evaluator_pb2.Evaluation:
        return self._found(self.evaluations, request.name)

    async def GetStudy(self, request: Any, context: Any) -> studies_pb2.Study:
        return self._found(self.studies, request.name)

    def _found(self, things: dict[str, Any], name: str) -> Any:
        if name not in things:
            error: NotFound = not_found(name)
            raise error
        return things[name]


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, trainer_pb2.Model]]:
    """A folder storage with a base model, an adapter on it and a model with a chat template."""
    tiny, root = load_tiny(), tmp_path_factory.mktemp("inference")
    models = {}
    base = tiny.make_model(root / "base", "llama", 1)
    tiny.make_model(root / "chat", "llama", 2, chat=True)
    tiny.make_adapter(root / "adapter", base, 3)
    for name in ("base", "chat", "adapter"):
        uri, sha256 = tiny.publish(root / name, root / "storage", f"{PROJECT}/models/{name}/a")
        models[f"{PROJECT}/models/{name}"] = trainer_pb2.Model(
            name=f"{PROJECT}/models/{name}",
            base_model=f"{PROJECT}/models/base" if name == "adapter" else "",
            adapter=name == "adapter",
            state=common_pb2.ACTIVE,
            parameter_count=sum(p.numel() for p in base.parameters()),
            context_window=0 if name == "adapter" else tiny.WINDOW,
            layer_count=2,
            hidden_size=64,
            chat_template=name == "chat",
            uri=uri,
            sha256=sha256,
        )
    return root / "storage", models


@pytest.fixture
async def gateway(storage: tuple[Path, dict[str, trainer_pb2.Model]]) -> AsyncIterator[Gateway]:
    servicer = Gateway()
    for name, model in storage[1].items():
        servicer.models[name] = trainer_pb2.Model.FromString(model.SerializeToString())
    servicer.rows[f"{PROJECT}/datasets/documents"] = DOCUMENTS
    server = new_server(ServiceSettings())
    trainer_pb2_grpc.add_TrainerServicer_to_server(servicer, server)
    datasets_pb2_grpc.add_DatasetsServicer_to_server(servicer, server)
    evaluator_pb2_grpc.add_EvaluatorServicer_to_server(servicer, server)
    studies_pb2_grpc.add_StudiesServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(None)


@pytest.fixture
def settings(gateway: Gateway, storage: tuple[Path, Any], tmp_path: Path) -> InferenceSettings:
    return InferenceSettings(
        gateway=gateway.target,
        # Clients of the gateway are kept by credential; a port may come again in another test's event loop.
        service_token=secrets.token_hex(8),
        gateway_token=GATEWAY_TOKEN,
        database_url=f"sqlite:///{tmp_path}/inference.db",
        storage=f"file://{storage[0]}",
        scratch=tmp_path / "scratch",
        inference_backend="inprocess",
        model_names_s=0.0,
    )


@pytest.fixture
def connect() -> Callable[..., AsyncClient]:
    """A client that speaks as the gateway would for a caller of this kind and project."""

    def connect(target: str, kind: str = "user", project: str = PROJECT) -> AsyncClient:
        metadata = (
            ("ingrain-gateway-token", GATEWAY_TOKEN),
            ("ingrain-caller-kind", kind),
            ("ingrain-caller-id", "test"),
            ("ingrain-caller-project", project),
        )
        return AsyncClient(target, project="demo", metadata=metadata)

    return connect


@asynccontextmanager
async def serving(settings: InferenceSettings, with_engine: bool = True) -> AsyncIterator[str]:
    """The door in this process; its address."""
    parts = await assemble(settings)
    server = new_server(settings)
    parts.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    background = [parts.work(), *([parts.backend.run()] if with_engine else [])]
    tasks = [asyncio.create_task(coroutine) for coroutine in background]
    yield f"127.0.0.1:{port}"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await server.stop(0)
    await parts.database.close()


@pytest.fixture
async def address(settings: InferenceSettings) -> AsyncIterator[str]:
    async with serving(settings) as target:
        yield target


@pytest.fixture
async def client(address: str, connect: Callable[..., AsyncClient]) -> AsyncIterator[AsyncClient]:
    async with connect(address) as connected:
        yield connected


@pytest.fixture
async def service(address: str, connect: Callable[..., AsyncClient]) -> AsyncIterator[AsyncClient]:
    """As another service calls."""
    async with connect(address, kind="service") as connected:
        yield connected


@pytest.fixture
def serve_door() -> Any:
    return serving


PORT_OPTIONS = (
    "--port",
    "--dashboard-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--metrics-export-port",
    "--runtime-env-agent-port",
    "--ray-client-server-port",
    "--node-manager-port",
    "--object-manager-port",
)


class RayHead:
    """A Ray head on ports of its own, with `cpus` logical processors; can be killed and started again."""

    def __init__(self, cpus: float) -> None:
        sockets = [socket.socket() for _ in PORT_OPTIONS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        self._ports = {o: str(s.getsockname()[1]) for o, s in zip(PORT_OPTIONS, sockets, strict=True)}
        for one in sockets:
            one.close()
        self._cpus = cpus
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.variables = token | {
            "RAY_ADDRESS": f"127.0.0.1:{self._ports['--port']}",
            "RAY_SERVE_LOG_TO_STDERR": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def start(self) -> None:
        # Unix sockets lie in it, and their paths may have 107 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="ii")
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
        command += [part for option in self._ports.items() for part in option]
        command += [
            "--node-ip-address=127.0.0.1",
            "--include-dashboard=false",
            f"--temp-dir={self._folder.name}",
        ]
        command += [f"--num-cpus={self._cpus}", f"--object-store-memory={200 << 20}"]
        variables = {key: value for key, value in self.variables.items() if key != "RAY_ADDRESS"}
        self._process = subprocess.Popen(
            command, env=os.environ | variables, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self) -> None:
        """At once: at SIGTERM a node drains for half a minute."""
        if self._process is not None and self._folder is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._folder.cleanup()


@pytest.fixture
def start_ray() -> Iterator[Callable[..., RayHead]]:
    heads = []

    def start(cpus: float = 4) -> RayHead:
        heads.append(RayHead(cpus))
        heads[-1].start()
        return heads[-1]

    yield start
    for head in heads:
        head.kill()


class Door:
    """`python -m services.inference` as a process, at one port however often it is started."""

    def __init__(self, variables: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.target = f"127.0.0.1:{self._port}"
        self._variables = variables | {"INGRAIN_PORT": str(self._port)}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.inference"],
            env=os.environ | self._variables,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it serves

    def end(self, number: int = signal.SIGKILL) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
        return self._process.wait(60)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


@pytest.fixture
def start_door(settings: InferenceSettings) -> Iterator[Callable[[RayHead], Door]]:
    """The door in a process of its own, with engines on `head`."""
    doors = []

    def start(head: RayHead, **more: str) -> Door:
        values = settings.model_dump(mode="json", exclude={"import_root", "port"}, exclude_none=True) | {
            "gateway_token": GATEWAY_TOKEN,
            "service_token": settings.service_token.get_secret_value(),
            "inference_backend": "serve",
            "ray_watch_s": 1.0,
            "log_level": "warning",
        }
        variables = {f"INGRAIN_{key.upper()}": str(value) for key, value in (values | more).items()}
        doors.append(Door(head.variables | variables))
        doors[-1].start()
        return doors[-1]

    yield start
    for door in doors:
        door.end()
