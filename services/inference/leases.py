"""Contexts that go when they have not been used for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
import structlog

from servicekit.database import Database, metadata
from servicekit.errors import DomainError, NotFound

log = structlog.get_logger()
table = sa.Table(
    "context_lease",
    metadata,
    sa.Column("context", sa.String(255), primary_key=True),
    sa.Column("ttl_s", sa.Float, nullable=False),
    sa.Column("used", sa.Float, nullable=False),  # Unix time of the last use that was written down
)
WRITTEN_S = 60.0  # uses are written down at most so often, and ten times within a lease
SWEEP_S = 5.0


class Leases:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[str, float] = {}

    async def start(self, context: str, ttl_s: float) -> None:
        def write(connection: sa.Connection) -> None:
            connection.execute(table.delete().where(table.c.context == context))
            connection.execute(table.insert().values(context=context, ttl_s=ttl_s, used=self._database.now()))

        await self._database.run(write)

    async def used(self, context: str, ttl_s: float) -> None:
        """The lease begins anew."""
        now = time.monotonic()
        if now - self._written.get(context, -WRITTEN_S) < min(WRITTEN_S, ttl_s / 10):
            return
        self._written[context] = now
        update = table.update().where(table.c.context == context).values(used=self._database.now())
        await self._database.run(lambda connection: connection.execute(update))

    async def expire_times(self, contexts: list[str]) -> dict[str, float]:
        """Unix time at which each goes as things stand; those without a lease are missing."""
        query = sa.select(table.c.context, table.c.used + table.c.ttl_s).where(table.c.context.in_(contexts))
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    async def end(self, context: str) -> None:
        self._written.pop(context, None)
        await self._database.run(lambda c: c.execute(table.delete().where(table.c.context == context)))

    async def sweep(self, delete: Callable[[str], Awaitable[None]], pause_s: float = SWEEP_S) -> None:
        """Deletes what has not been used for its time, until cancelled."""
        while True:
            try:
                query = sa.select(table.c.context).where(table.c.used + table.c.ttl_s < self._database.now())
                rows = await self._database.run(
                    lambda connection, query=query: connection.execute(query).all()
                )
                for (context,) in rows:
                    await self._expire(context, delete)
            except (DomainError, sa.exc.SQLAlchemyError) as error:
                log.warning("lease_sweep_failed", problem=repr(error))
            await asyncio.sleep(pause_s)

    async def _expire(self, context: str, delete: Callable[[str], Awaitable[None]]) -> None:
        try:
            await delete(context)
            log.info("context_expired", context=context)
        except NotFound:  # another process was first, or its user
            pass
        await self.end(context)
