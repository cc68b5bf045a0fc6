"""SQLAlchemy's sync engine in one worker thread: one writer per process, no event loop ever waits on a disk."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from servicekit import upgrading
from servicekit.errors import DomainError, Exhausted, Unavailable

T = TypeVar("T")
metadata = sa.MetaData()
# libpq's: without them a server whose machine is gone is waited for until TCP gives up, a quarter of an hour later.
LIMITS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # ms
}


class Database:
    """`schema` is the service's own schema in PostgreSQL; in SQLite each service has its own file."""

    def __init__(self, url: str, schema: str = "") -> None:
        self.is_sqlite = url.startswith("sqlite")
        self._schema = schema if not self.is_sqlite else ""
        if self.is_sqlite:
            self.engine = sa.create_engine(
                url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
            )
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_immediate)
        else:
            own = {name: value for name, value in LIMITS.items() if name not in sa.make_url(url).query}
            self.engine = sa.create_engine(
                url, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=own
            )
            if self._schema:
                sa.event.listen(self.engine, "connect", self._set_search_path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")

    async def run(self, fn: Callable[[sa.Connection], T]) -> T:
        """`fn` in one transaction. Unavailable where the database is away or locked, Exhausted where its disk is full."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, fn)

    def _transact(self, fn: Callable[[sa.Connection], T]) -> T:
        # Two processes may insert the same name or request id at once; who loses looks again and finds it.
        for attempt in range(3):
            try:
                with self.engine.begin() as connection:
                    return fn(connection)
            except sa.exc.IntegrityError:
                if attempt == 2:
                    raise
            except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                raise _as_domain_error(error) from error
        raise AssertionError("unreachable")

    async def create_all(self, tables: sa.MetaData = metadata) -> None:
        """The tables of this release, made or out of those that an earlier one made (`servicekit.upgrading`).

        Any number of processes may start at once, over tables that others work on. WrongState TABLE_CHANGED where
        the tables cannot be used, Unavailable TABLE_BUSY where one that needs a change stays locked.
        """
        schema = self._schema or None

        def make(connection: sa.Connection) -> list[sa.Table]:
            self._wait_for_others(connection)
            if schema:
                connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
            return upgrading.missing(connection, tables, schema)

        # Each in a transaction of its own: who holds one table and waits for another can lock up with who works.
        for table in await self.run(make):
            await self.run(functools.partial(self._add_to, table))

    def _add_to(self, table: sa.Table, connection: sa.Connection) -> None:
        self._wait_for_others(connection)
        upgrading.add(connection, table, self._schema or None)

    def _wait_for_others(self, connection: sa.Connection) -> None:
        """Until no other process makes or changes tables. IF NOT EXISTS is no promise when two start at once."""
        if not self.is_sqlite:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(20250500661)")

    async def close(self) -> None:
        self._thread.shutdown(wait=True)
        self.engine.dispose()

    def now(self) -> sa.ColumnElement[float]:
        """Seconds since the epoch by the database's clock, so that machines need not agree."""
        if self.is_sqlite:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
        return sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Float)

    def _set_search_path(self, connection: object, _: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(f'SET search_path TO "{self._schema}"')
        connection.commit()  # type: ignore[attr-defined]


def _prepare_sqlite(connection: object, _: object) -> None:
    # pysqlite would begin transactions by itself, and too late: BEGIN IMMEDIATE is sent by _begin_immediate.
    connection.isolation_level = None  # type: ignore[attr-defined]
    # The timeout comes first: switching to WAL is already something to wait for.
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _as_domain_error(error: sa.exc.DBAPIError) -> DomainError:
    if "disk is full" in str(error.orig) or "No space left" in str(error.orig):
        return Exhausted("STORAGE_FULL", "the database's disk is full; free some space and try again")
    return Unavailable("DATABASE_UNAVAILABLE", "the database does not answer; try again", retry_after_s=1.0)
