"""How many operations wait and run, told to metrics: by one small query every few seconds, which whoever scrapes cannot make more."""

import time
from collections.abc import Iterable

import sqlalchemy as sa

from servicekit import metrics
from servicekit.operation_protos import PENDING, RUNNING
from servicekit.operations import Operations
from servicekit.tables import operation as table

LOOK_S = 10.0
STATES = ("queued", "deferred", "running", "abandoned")


class Backlog:
    """`verbs`: those that the service has."""

    def __init__(self, operations: Operations, verbs: Iterable[str]) -> None:
        self._database = operations.database
        self._verbs = tuple(verbs)
        self._looked = -LOOK_S

    async def look(self) -> None:
        """Not more often than every LOOK_S."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        counts = dict.fromkeys(((verb, state) for verb in self._verbs for state in STATES), 0)
        oldest = dict.fromkeys(self._verbs, 0.0)
        for verb, state, count, waited_s in await self._database.run(self._count_in):
            counts[verb, state] = count
            if state == "queued":
                oldest[verb] = max(0.0, waited_s)
        for (verb, state), count in counts.items():
            metrics.BACKLOG.labels(verb, state).set(count)
        for verb, waited_s in oldest.items():
            metrics.OLDEST.labels(verb).set(waited_s)

    def _count_in(self, connection: sa.Connection) -> list[tuple[str, str, int, float]]:
        """Verb, state, how many, and the longest wait of them in seconds. Reads those alone that have not ended."""
        now = connection.execute(sa.select(self._database.now())).scalar_one()
        state = sa.case(
            (sa.and_(table.c.state == PENDING, table.c.not_before > now), "deferred"),
            (table.c.state == PENDING, "queued"),
            (table.c.lease_until < now, "abandoned"),
            else_="running",
        ).label("phase")
        since = sa.case((table.c.not_before > table.c.updated, table.c.not_before), else_=table.c.updated)
        query = (
            sa.select(table.c.verb, state, sa.func.count(), now - sa.func.min(since))
            .where(table.c.state.in_((PENDING, RUNNING)))
            .group_by(table.c.verb, state)
        )
        return [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]
