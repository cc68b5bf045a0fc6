"""A PostgreSQL, an S3 server and made-up secrets: what manifests find in their namespace."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pgserver
import pytest
import yaml

from tools import platform
from tools.k8s_check.__main__ import SECRETS


def postgres() -> pgserver.PostgresServer:
    """In a folder of its own: the server's user may not enter pytest's."""
    return pgserver.get_server(tempfile.mkdtemp(prefix="ingrain-postgres-"), cleanup_mode="delete")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`postgres`: a SQLAlchemy URL; the rest are the variables of an S3 server."""
    folder = tmp_path_factory.mktemp("stores")
    server = postgres()
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    with platform.s3_server(folder / "s3") as variables:
        yield {"postgres": url, **variables}
    server.cleanup()


@pytest.fixture
def made_up(stores: dict[str, str]) -> dict[tuple[str, str], str]:
    """A value for every Secret and key that the operator has to bring."""
    listed = yaml.safe_load(Path(SECRETS).read_text())
    values = {(name, key): secrets.token_hex(32) for name, keys in listed.items() for key in keys}
    values[("ingrain-database", "url")] = stores["postgres"]
    values[("ingrain-s3", "access-key")] = stores["INGRAIN_S3_ACCESS_KEY"]
    values[("ingrain-s3", "secret-key")] = stores["INGRAIN_S3_SECRET_KEY"]
    return values
