"""Real servers for the contract suites: S3 by rclone and moto, PostgreSQL by pgserver. Loopback only."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ingrain.v1 import trainer_pb2 as pb
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.settings import ServiceSettings
from servicekit.worker import Task, Worker
from tools.platform import free_port, stop, wait_for_port


@pytest.fixture(scope="session")
def rclone_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceSettings]:
    """rclone's S3 server: a real process, real signatures, a real disk."""
    folder = tmp_path_factory.mktemp("rclone")
    port, secret = free_port(), secrets.token_hex(16)
    rclone = str(Path(sys.executable).parent / "rclone")
    process = subprocess.Popen(
        [rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"],
        env=os.environ | {"RCLONE_AUTH_KEY": f'"key,{secret}"'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_port(port, 30)
    yield s3_settings(f"127.0.0.1:{port}", "key", secret)
    stop(process, 10)


@pytest.fixture(scope="session")
def moto_settings() -> Iterator[ServiceSettings]:
    """moto's S3 server in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_port(port, 60)
    yield s3_settings(f"127.0.0.1:{port}", "key", "secret")
    stop(process, 10)


def s3_settings(endpoint: str, access: str, secret: str) -> ServiceSettings:
    return ServiceSettings(
        storage="s3://contract/prefix",
        s3_endpoint=endpoint,
        s3_access_key=access,
        s3_secret_key=secret,
        s3_secure=False,
    )


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL; every test takes a schema of its own."""
    import pgserver

    # Not under pytest's folder: run as root, the server is another user, whom the next pytest would lock out.
    server = pgserver.get_server(tempfile.mkdtemp(prefix="ingrain-postgres-"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'operations.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def schema() -> str:
    return f"test_{time.time_ns()}"


Handler = Callable[[Task, pb.ImportModelRequest], Awaitable[pb.Model]]


class Service:
    """A database with models and their operations, and workers on it."""

    def __init__(self, url: str, schema: str) -> None:
        self.database = Database(url, schema)
        self.models = Resources(self.database, pb.Model, "models")
        self.operations = Operations(self.database, {"models": self.models})

    async def start(self, id: str = "m", source: str = "hf://a/b", request_id: str = "") -> str:
        request = pb.ImportModelRequest(parent="projects/p", source_uri=source, request_id=request_id)
        model = pb.Model(name=f"projects/p/models/{id}")
        return (await self.operations.start("ImportModel", request, model, request_id=request_id)).name

    def worker(self, handler: Handler, lease_s: float = 30.0, concurrency: int = 4) -> Worker:
        settings = ServiceSettings(lease_s=lease_s, worker_concurrency=concurrency, drain_s=5)
        return Worker(self.operations, {"ImportModel": (pb.ImportModelRequest, handler)}, settings)

    async def finished(self, task: Task, request: pb.ImportModelRequest) -> pb.Model:
        return await self.models.get(task.target)


@pytest.fixture
async def service(database_url: str, schema: str) -> AsyncIterator[Service]:
    service = Service(database_url, schema)
    await service.database.create_all()
    yield service
    await service.database.close()


@pytest.fixture
async def other(database_url: str, schema: str, service: Service) -> AsyncIterator[Service]:
    """Another process's view of the same database."""
    other = Service(database_url, schema)
    yield other
    await other.database.close()
