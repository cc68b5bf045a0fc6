"""Tables of one release under the code of another: forwards with all that was written, and back again."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingrain.v1 import common_pb2
from ingrain.v1 import trainer_pb2 as pb
from servicekit import upgrading
from servicekit.database import Database, metadata
from servicekit.errors import Unavailable, WrongState
from servicekit.tables import operation, resource
from servicekit.worker import Task
from services.augmenter.rates import Rate
from tests.contract import upgrade_process
from tests.contract.conftest import Service
from tools.tables import load_services

ROOT = Path(__file__).parents[2]
RELEASES = sorted((ROOT / "tests" / "golden" / "tables").glob("*.sql"))
# Written by a newer release: a field that this one's message does not have.
NEWER_FIELD = b"\xf2\xff\x03\x03new"


@pytest.fixture
async def fresh(database_url: str, schema: str) -> AsyncIterator[Database]:
    """A database without a table."""
    database = Database(database_url, schema)
    yield database
    await database.close()


def with_change(change: Callable[[sa.Table], None], of: sa.Table = operation) -> sa.MetaData:
    """The tables of resources and operations, one of them changed."""
    tables = sa.MetaData()
    for table in (resource, operation):
        copy = table.to_metadata(tables)
        if table is of:
            change(copy)
    return tables


async def test_an_upgrade_keeps_what_is_there_and_the_older_release_goes_on(
    service: Service, other: Service
) -> None:
    older, newer = service, other
    running = await older.start("a")
    await newer.database.create_all(upgrade_process.newer())
    note, weight = sa.column("note"), sa.column("weight")

    def as_newer(connection: sa.Connection) -> None:
        assert connection.execute(sa.text("SELECT name, weight FROM operation")).all() == [(running, 1)]
        assert connection.execute(sa.text("SELECT note FROM resource")).all() == [(None,)]
        connection.execute(sa.text("UPDATE operation SET weight = 7"))
        connection.execute(
            sa.text("UPDATE resource SET note = 'kept', body = :body"),
            {"body": pb.Model(name="projects/p/models/a").SerializeToString() + NEWER_FIELD},
        )
        connection.execute(sa.text("INSERT INTO added (name) VALUES ('one')"))

    await newer.database.run(as_newer)
    await older.database.create_all()  # rolled back to: it starts again

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        model = await older.models.get(task.target)
        model.architecture = "Done"
        return model

    working = asyncio.create_task(older.worker(handler).run())
    await older.start("b")
    waited = await older.operations.wait(running, 60.0)
    working.cancel()
    await asyncio.wait([working])
    assert waited.HasField("response"), waited
    assert (await older.models.get("projects/p/models/a")).state == common_pb2.ACTIVE

    await newer.database.create_all(upgrade_process.newer())  # and forwards once more

    def after(connection: sa.Connection) -> None:
        rows = connection.execute(sa.select(note, resource.c.body).select_from(resource).order_by("sequence"))
        first, second = rows.all()
        assert (first.note, second.note) == ("kept", None)
        assert NEWER_FIELD in bytes(first.body)
        weights = connection.execute(sa.select(weight).select_from(operation).order_by("sequence")).scalars()
        assert list(weights) == [7, 1]
        assert connection.execute(sa.text("SELECT name FROM added")).scalars().all() == ["one"]

    await newer.database.run(after)
    indexes = await newer.database.run(lambda c: sa.inspect(c).get_indexes("operation"))
    assert "operation_weight" in {index["name"] for index in indexes}


async def test_replicas_that_start_at_once_upgrade_once_while_others_write(
    postgres_url: str, schema: str
) -> None:
    older, held = Service(postgres_url, schema), sa.create_engine(postgres_url)
    await older.database.create_all()
    command = [sys.executable, "-m", "tests.contract.upgrade_process", postgres_url, schema]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        with held.begin() as connection:
            # All three have looked, or wait to look, before the first one can add anything.
            connection.exec_driver_sql(f'LOCK TABLE "{schema}".operation IN ACCESS SHARE MODE')
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            while connection.execute(waiting).scalar_one() < len(processes):
                assert [process.poll() for process in processes] == [None] * len(processes)
                connection.exec_driver_sql("SELECT pg_sleep(0.02), pg_stat_clear_snapshot()")
        written = 0
        while any(process.poll() is None for process in processes):
            await older.start(f"m{written}")
            written += 1
        assert [process.returncode for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        held.dispose()
    await older.start("last")
    count = sa.text("SELECT count(weight), count(*) FROM operation")
    assert (await older.database.run(lambda c: c.execute(count).one())) == (written + 1, written + 1)
    await older.database.close()


def loose(name: str, wanted: bool) -> Callable[[sa.Table], None]:
    def change(table: sa.Table) -> None:
        table.c[name].nullable = wanted

    return change


def typed(name: str, kind: sa.types.TypeEngine[object]) -> Callable[[sa.Table], None]:
    def change(table: sa.Table) -> None:
        table.c[name].type = kind

    return change


REFUSED: dict[str, tuple[Callable[[sa.Table], None], str]] = {
    "a column that must have a value": (
        lambda table: table.append_column(sa.Column("weight", sa.Integer, nullable=False, default=1)),
        "column weight of table operation is not there and must not be empty",
    ),
    "another type": (
        typed("state", sa.Integer()),
        "column state of table operation is VARCHAR(15), and this release needs INTEGER",
    ),
    "empty no longer": (loose("owner", False), "column owner of table operation may be empty"),
    "empty at last": (loose("verb", True), "column verb of table operation must not be empty"),
    "a default": (
        lambda table: setattr(table.c.fence, "server_default", sa.DefaultClause("0")),
        "column fence of table operation has no default",
    ),
    "unique": (
        lambda table: table.append_constraint(sa.UniqueConstraint("target", "verb")),
        "(target, verb) of table operation must be unique for this release",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_added_is_refused_and_nothing_changes(service: Service, what: str) -> None:
    change, said = REFUSED[what]
    tables = with_change(change)
    sa.Table("added", tables, sa.Column("name", sa.String(9), primary_key=True))
    with pytest.raises(WrongState) as refused:
        await service.database.create_all(tables)
    assert refused.value.reason == "TABLE_CHANGED"
    assert said in refused.value.message
    assert "docs/operations.md" in refused.value.message
    assert not await service.database.run(lambda c: sa.inspect(c).has_table("added"))
    await service.database.create_all()
    await service.start()


async def test_what_a_newer_release_must_not_have_done_is_refused(fresh: Database) -> None:
    """A column that an older one would leave empty; one that somebody made by hand, say."""
    await fresh.create_all(
        with_change(lambda table: table.append_column(sa.Column("cost", sa.Float, nullable=False)))
    )
    with pytest.raises(WrongState, match="column cost of table operation is not known to this release"):
        await fresh.create_all()


@pytest.mark.parametrize(
    ("narrow", "wide"), [(sa.String(15), sa.String(31)), (sa.String(15), sa.Text())], ids=str
)
async def test_wider_is_right_and_narrower_is_not(
    postgres_url: str, schema: str, narrow: sa.String, wide: sa.String
) -> None:
    database = Database(postgres_url, schema)
    await database.create_all(with_change(typed("state", wide)))
    await database.create_all(with_change(typed("state", narrow)))  # rolled back to
    await database.close()
    other = Database(postgres_url, f"{schema}_narrow")
    await other.create_all(with_change(typed("state", narrow)))
    with pytest.raises(WrongState, match=r"column state of table operation is VARCHAR\(15\)"):
        await other.create_all(with_change(typed("state", wide)))
    await other.close()


async def test_a_table_that_stays_locked_stops_the_start_and_not_the_others(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "LOCK_TIMEOUT_S", 0.3)
    older, newer = Service(postgres_url, schema), Database(postgres_url, schema)
    await older.database.create_all()
    dump = sa.create_engine(postgres_url)
    with dump.begin() as connection:
        connection.exec_driver_sql(f'LOCK TABLE "{schema}".operation IN ACCESS SHARE MODE')
        with pytest.raises(Unavailable) as refused:
            await newer.create_all(upgrade_process.newer())
        assert refused.value.reason == "TABLE_BUSY"
        assert "operation" in refused.value.message
        await older.start("meanwhile")
    await newer.create_all(upgrade_process.newer())
    await older.start("after")
    dump.dispose()
    await older.database.close()
    await newer.close()


def test_what_a_newer_release_keeps_beside_is_left_out() -> None:
    kept = {"prompt_count": 2, "generated_token_count": 5.0, "joules": 7.0}
    assert upgrading.known(Rate, kept) == Rate(prompt_count=2, generated_token_count=5.0)
    with pytest.raises(TypeError):
        upgrading.known(Rate, {"prompt_count": 2})


def test_every_release_has_its_tables_kept() -> None:
    assert {path.stem for path in RELEASES} == {"0.1.0-postgresql", "0.1.0-sqlite"}


@pytest.mark.parametrize("release", sorted({path.stem.rpartition("-")[0] for path in RELEASES}))
async def test_the_services_start_on_the_tables_of_every_release(
    fresh: Database, release: str, schema: str
) -> None:
    load_services()
    name = f"{release}-{fresh.engine.dialect.name}.sql"
    statements = (ROOT / "tests" / "golden" / "tables" / name).read_text().split(";\n")

    def as_then(connection: sa.Connection) -> None:
        if not fresh.is_sqlite:
            connection.execute(sa.schema.CreateSchema(schema))
        for statement in filter(str.strip, statements):
            connection.exec_driver_sql(statement)

    await fresh.run(as_then)
    await fresh.create_all()
    found = await fresh.run(lambda c: {n: sa.inspect(c).get_columns(n) for n in metadata.tables})
    for name, table in metadata.tables.items():
        # Nobody would notice that these are missing.
        assert not [
            c for c in table.constraints if isinstance(c, (sa.ForeignKeyConstraint, sa.CheckConstraint))
        ]
        assert {column.name for column in table.columns} <= {column["name"] for column in found[name]}
    said: list[str] = []
    sa.event.listen(fresh.engine, "before_cursor_execute", lambda *told: said.append(told[2]))
    await fresh.create_all()  # a start when all is there: it looks, some times per table, and changes nothing
    assert said
    changes = ("CREATE TABLE", "CREATE INDEX", "CREATE UNIQUE", "ALTER", "DROP")
    assert not [one for one in said if one.strip().upper().startswith(changes)]
    assert len(said) <= 20 * len(metadata.tables)
