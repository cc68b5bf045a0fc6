"""What prompts took on this platform, by model and strategy: from finished derivations, for the estimates of later ones."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from servicekit.database import Database, metadata
from servicekit.upgrading import known

table = sa.Table(
    "augmenter_rate",
    metadata,
    sa.Column("project", sa.String(127), primary_key=True),
    sa.Column("model_sha256", sa.String(64), primary_key=True),
    sa.Column("strategy", sa.String(63), primary_key=True),  # empty: of all together, with times
    sa.Column("source", sa.String(255), nullable=False),  # the dataset that was derived
    sa.Column("measured", sa.Text, nullable=False),  # of `Rate`, JSON
)
ALL = ""


@dataclass(frozen=True)
class Rate:
    """Sums over prompts that were asked, none from the store. `wall_seconds`: of them side by side, 0 for a strategy alone."""

    prompt_count: int
    generated_token_count: float
    flops: float = 0.0
    compute_seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def written_each(self) -> float:
        """Tokens written to a prompt."""
        return self.generated_token_count / self.prompt_count


@dataclass(frozen=True)
class Rates:
    """Of one project."""

    database: Database
    project: str

    async def note(self, model_sha256: str, source: str, rates: Mapping[str, Rate]) -> None:
        """The newest of a model and strategy stays."""
        keys = [
            {"project": self.project, "model_sha256": model_sha256, "strategy": strategy}
            for strategy in rates
        ]
        rows = [
            key | {"source": source, "measured": json.dumps(asdict(rates[key["strategy"]]))} for key in keys
        ]

        def note(connection: sa.Connection) -> None:
            for key in keys:
                connection.execute(table.delete().where(*(table.c[name] == key[name] for name in key)))
            connection.execute(table.insert(), rows)

        if rows:
            await self.database.run(note)

    async def of(self, model_sha256: str) -> dict[str, tuple[Rate, str]]:
        """By strategy: the rate, and the dataset that it was measured on."""
        query = table.select().where(table.c.project == self.project, table.c.model_sha256 == model_sha256)
        found = await self.database.run(lambda connection: connection.execute(query).all())
        return {row.strategy: (known(Rate, json.loads(row.measured)), row.source) for row in found}
