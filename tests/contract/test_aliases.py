"""Promotions by several processes' connections, in SQLite and PostgreSQL: one after the other, none lost."""

import asyncio
from typing import Any

from ingrain.v1 import aliases_pb2 as pb
from ingrain.v1 import evaluator_pb2
from servicekit.database import Database
from servicekit.resources import Resources
from services.inference.aliases import Aliases
from services.inference.names import Names
from services.inference.settings import InferenceSettings

NAME = "projects/demo/aliases/bot"


class Standing(Names):
    """Every model is there."""

    async def require(self, alias: str, meaning: Any) -> None:
        await asyncio.sleep(0)


def target(number: int) -> str:
    return f"projects/demo/models/m{number}"


async def test_promotions_from_everywhere_at_once_are_done_one_by_one(database_url: str, schema: str) -> None:
    databases = [Database(database_url, schema) for _ in range(3)]
    await databases[0].create_all()
    settings = InferenceSettings()
    parts = []
    for database in databases:
        rows = Resources(database, pb.Alias, "aliases")
        parts.append(Aliases(settings, rows, Standing(settings, rows)))

    async def promote(number: int) -> pb.Alias:
        request = pb.PromoteAliasRequest(name=NAME, target=target(number))
        return await parts[number % len(parts)].promote(request)

    made = await asyncio.gather(*(promote(number) for number in range(4)))
    alias = await parts[0].rows.get(NAME)
    stood = [alias.target, *(version.target for version in alias.versions)]
    assert sorted(stood) == [target(number) for number in range(4)]
    assert len({one.etag for one in made}) == 4
    assert alias.subject == evaluator_pb2.Subject(model=alias.target)

    back = pb.RollBackAliasRequest(name=NAME, etag=alias.etag)
    done = await asyncio.gather(*(part.roll_back(back) for part in parts), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Alias", "Busy", "Busy"]
    assert (await parts[1].rows.get(NAME)).target == stood[1]
    for database in databases:
        await database.close()
