"""PostgreSQL is stopped in the middle, without a goodbye, and comes back: workers and callers go on."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingrain.v1 import trainer_pb2 as pb
from servicekit import worker
from servicekit.database import LIMITS, Database
from servicekit.errors import Unavailable
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.settings import ServiceSettings
from servicekit.worker import Task, Worker


class Postgres:
    def __init__(self) -> None:
        import pgserver
        from pgserver._commands import pg_ctl

        self.folder = Path(tempfile.mkdtemp(prefix="ingrain-postgres-"))
        self.server = pgserver.get_server(self.folder, cleanup_mode="delete")
        self.url = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        self._ctl = pg_ctl

    def stop(self) -> None:
        self._ctl(["-m", "immediate", "stop"], pgdata=self.folder, user=self.server.system_user)

    def start(self) -> None:
        self.server.ensure_postgres_running()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    postgres = Postgres()
    yield postgres
    postgres.server.cleanup()


async def test_a_database_that_dies_and_returns_costs_nothing(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "OUTAGE_PAUSE_S", 0.1)
    database = Database(postgres.url, "outage")
    await database.create_all()
    models = Resources(database, pb.Model, "models")
    operations = Operations(database, {"models": models})
    handled: list[str] = []
    stops = asyncio.Event()

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        model = await models.get(task.target)
        await stops.wait()
        handled.append(task.target)
        return model

    async def start(id: str) -> Any:
        request = pb.ImportModelRequest(parent="projects/p", model_id=id, source_uri="hf://a/b")
        return await operations.start("ImportModel", request, pb.Model(name=f"projects/p/models/{id}"))

    running = asyncio.create_task(
        Worker(operations, {"ImportModel": (pb.ImportModelRequest, handler)}, ServiceSettings()).run()
    )
    names = [(await start(f"m{i}")).name for i in range(3)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(postgres.stop)
    with pytest.raises(Unavailable) as caught:
        await operations.get(names[0])
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    stops.set()  # the work ends while its result cannot be written
    await asyncio.sleep(1.0)
    await asyncio.to_thread(postgres.start)
    for name in [*names, (await start("late")).name]:
        ended = await operations.wait(name, 20)
        assert ended.done
        assert not ended.HasField("error")
    assert sorted(handled) == [f"projects/p/models/{id}" for id in ("late", "m0", "m1", "m2")]
    running.cancel()
    await asyncio.wait([running])
    await database.close()


async def test_a_server_whose_machine_is_gone_is_noticed_within_a_minute(postgres_url: str) -> None:
    """A link cut across hosts shows it (docs/hosts.md); here, that libpq was told so."""
    database = Database(postgres_url)
    told = await database.run(lambda c: c.connection.dbapi_connection.info.get_parameters())  # type: ignore[union-attr]
    await database.close()
    assert {name: int(told[name]) for name in LIMITS} == LIMITS
    assert LIMITS["tcp_user_timeout"] <= 60_000
    assert LIMITS["keepalives_idle"] + LIMITS["keepalives_interval"] * LIMITS["keepalives_count"] <= 60
