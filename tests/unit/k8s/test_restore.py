"""A database dump and a copy of the objects, put into an empty platform with other secrets and addresses: it goes on."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pgserver
import pytest

from ingrain import Client, errors
from tests.unit.k8s.started import Namespace
from tests.unit.k8s.test_starting import namespace, running
from tools import platform

QUESTION = "Quill is smaller than"
DOCUMENTS = [
    {"id": "a", "text": "Quill is smaller than Marlow."},
    {"id": "b", "text": "Zed is larger than Marlow."},
]
SERVICES = ("gateway", "augmenter", "trainer", "inference")
PROGRAMS = Path(pgserver.__file__).parent / "pginstall" / "bin"


@contextmanager
def stores_in(folder: Path) -> Iterator[dict[str, str]]:
    folder.mkdir(exist_ok=True)
    server = pgserver.get_server(tempfile.mkdtemp(prefix="ingrain-postgres-"), cleanup_mode="delete")
    try:
        with platform.s3_server(folder / "s3") as variables:
            yield {"postgres": server.get_uri(), **variables}
    finally:
        server.cleanup()


def platform_over(stores: dict[str, str], folder: Path, tokens: dict[str, str]) -> Namespace:
    values = {("ingrain-identity", name): value for name, value in tokens.items()}
    values[("ingrain-database", "url")] = stores["postgres"].replace("postgresql", "postgresql+psycopg", 1)
    values[("ingrain-s3", "access-key")] = stores["INGRAIN_S3_ACCESS_KEY"]
    values[("ingrain-s3", "secret-key")] = stores["INGRAIN_S3_SECRET_KEY"]
    values[("ingrain-ray", "auth_token")] = secrets.token_hex(32)
    folder.mkdir()
    return namespace("laptop", folder, values, stores)


def tokens() -> dict[str, str]:
    return {name: secrets.token_hex(32) for name in ("service-token", "gateway-token", "operator-token")}


def postgres(program: str, url: str, *arguments: str) -> None:
    """A program of PostgreSQL on a database; its words stand in the error."""
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments, "--dbname", url], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_dump_and_a_copy_of_the_objects_are_a_platform(tmp_path: Path) -> None:
    first = tokens()
    with stores_in(tmp_path / "old") as stores:
        space = platform_over(stores, tmp_path / "a", first)
        with running(space, *SERVICES) as started:
            for one in started.values():
                one.until("readinessProbe")
            address = space.addresses[("gateway", 7070)]
            with Client(address, api_key=first["operator-token"]) as client:
                key = client.keys.create("kept").secret
                client.models.import_("bundled://small", "small").result()
                client.datasets.upload(DOCUMENTS, "docs")
                before = client.generate("icl:docs@small", QUESTION, max_tokens=8).generations[0].text
        # First the database, then the objects: they are written before a row names them.
        postgres("pg_dump", stores["postgres"], "--format=custom", "--file", str(tmp_path / "dump"))
        shutil.copytree(tmp_path / "old" / "s3", tmp_path / "copy")
    shutil.rmtree(tmp_path / "old")

    second = tokens()
    (tmp_path / "new").mkdir()
    shutil.copytree(tmp_path / "copy", tmp_path / "new" / "s3")
    with stores_in(tmp_path / "new") as stores:
        postgres("pg_restore", stores["postgres"], "--no-owner", "--exit-on-error", str(tmp_path / "dump"))
        space = platform_over(stores, tmp_path / "b", second)
        with running(space, *SERVICES) as started:
            for one in started.values():
                one.until("readinessProbe")
            address = space.addresses[("gateway", 7070)]
            with (
                Client(address, api_key=first["operator-token"]) as stranger,
                pytest.raises(errors.Unauthenticated),
            ):
                stranger.datasets.get("docs")
            with Client(address, api_key=key) as client:
                assert [row["text"] for row in client.datasets.rows("docs")] == [
                    row["text"] for row in DOCUMENTS
                ]
                assert client.generate("icl:docs@small", QUESTION, max_tokens=8).generations[0].text == before
                client.datasets.upload([{"id": "c", "text": "Zed is larger than Quill."}], "more")
                assert client.generate("icl:more@small", QUESTION, max_tokens=8).generations[0].text
                assert {d.name.rsplit("/", 1)[-1] for d in client.datasets.list()} == {"docs", "more"}
