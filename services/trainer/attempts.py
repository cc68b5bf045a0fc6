"""Which attempts trained a model and from which step on: by it a watcher joins their progress into one run."""

from dataclasses import dataclass

import sqlalchemy as sa

from servicekit.database import Database, metadata

ATTEMPT = sa.Table(
    "training_attempt",
    metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("first_step", sa.Integer, primary_key=True),
    sa.Column("prefix", sa.String, nullable=False),
    sa.Column("step_count", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class Attempt:
    """Progress lies under `prefix`; counts from `first_step` until the next attempt's."""

    prefix: str
    first_step: int
    step_count: int


class Attempts:
    """The table beside resources and operations; `Database.create_all` makes it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add_in(self, connection: sa.Connection, model: str, attempt: Attempt) -> None:
        """In the caller's transaction, which checks the fence. An attempt from the same step as an earlier one, or from before it, takes its
        place."""
        replaced = (ATTEMPT.c.model == model) & (ATTEMPT.c.first_step >= attempt.first_step)
        connection.execute(sa.delete(ATTEMPT).where(replaced))
        connection.execute(sa.insert(ATTEMPT).values(model=model, **vars(attempt)))

    async def of(self, model: str) -> list[Attempt]:
        """In the order of their steps."""

        def read(connection: sa.Connection) -> list[Attempt]:
            found = connection.execute(
                sa.select(ATTEMPT).where(ATTEMPT.c.model == model).order_by(ATTEMPT.c.first_step)
            )
            return [Attempt(row.prefix, row.first_step, row.step_count) for row in found]

        return await self.database.run(read)
