"""What this service remembers beside its studies: their events, and where the forms of their reports lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ingrain.v1 import studies_pb2
from servicekit.database import Database, metadata

study_event = sa.Table(
    "study_event",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

study_report = sa.Table(
    "study_report",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("form", sa.String(16), primary_key=True),
    sa.Column("storage_key", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)


@dataclass(frozen=True)
class StoredReport:
    storage_key: str
    sha256: str


class Records:
    """Rows by the study's name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_event_in(self, connection: sa.Connection, study: str, event: studies_pb2.StudyEvent) -> None:
        """In a caller's transaction. Gives it the next sequence number, from 1 without gaps, and the time."""
        last = sa.select(sa.func.max(study_event.c.sequence)).where(study_event.c.study == study)
        numbered = studies_pb2.StudyEvent()
        numbered.CopyFrom(event)
        numbered.sequence = (connection.execute(last).scalar() or 0) + 1
        numbered.event_time.GetCurrentTime()
        row = {"study": study, "sequence": numbered.sequence, "content": numbered.SerializeToString()}
        connection.execute(study_event.insert().values(**row))

    async def events(self, study: str, start: int, limit: int = 200) -> list[studies_pb2.StudyEvent]:
        """In order, from sequence number `start`."""

        def select(connection: sa.Connection) -> Sequence[bytes]:
            query = (
                sa.select(study_event.c.content)
                .where(study_event.c.study == study, study_event.c.sequence >= start)
                .order_by(study_event.c.sequence)
                .limit(limit)
            )
            return connection.execute(query).scalars().all()

        return [studies_pb2.StudyEvent.FromString(content) for content in await self._database.run(select)]

    async def set_report(self, study: str, form: str, stored: StoredReport) -> None:
        def write(connection: sa.Connection) -> None:
            connection.execute(study_report.delete().where(*_is(study, form)))
            row = {"storage_key": stored.storage_key, "sha256": stored.sha256}
            connection.execute(study_report.insert().values(study=study, form=form, **row))

        await self._database.run(write)

    async def report(self, study: str, form: str) -> StoredReport | None:
        def select(connection: sa.Connection) -> StoredReport | None:
            query = sa.select(study_report.c.storage_key, study_report.c.sha256).where(*_is(study, form))
            row = connection.execute(query).one_or_none()
            return StoredReport(*row) if row else None

        return await self._database.run(select)


def _is(study: str, form: str) -> tuple[sa.ColumnElement[bool], ...]:
    return study_report.c.study == study, study_report.c.form == form
