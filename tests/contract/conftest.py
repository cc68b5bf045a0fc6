"""Real servers for the contract suites: S3 by rclone and moto, PostgreSQL by pgserver. Loopback only."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from servicekit.settings import ServiceSettings
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
