"""The start of a newer release, in a process of its own: says that it is ready, waits for a line, and upgrades."""

import asyncio
import sys

import sqlalchemy as sa

from servicekit import upgrading
from servicekit.database import Database
from servicekit.tables import operation, resource


def newer() -> sa.MetaData:
    """Tables of a release to come: a column that may be empty, one with a default, an index, a table."""
    tables = sa.MetaData()
    resource.to_metadata(tables).append_column(sa.Column("note", sa.String(31)))
    changed = operation.to_metadata(tables)
    changed.append_column(sa.Column("weight", sa.Integer, nullable=False, server_default="1"))
    sa.Index("operation_weight", changed.c.weight, changed.c.created)
    sa.Table("added", tables, sa.Column("name", sa.String(9), primary_key=True))
    return tables


async def main(url: str, schema: str) -> None:
    database = Database(url, schema)
    upgrading.LOCK_TIMEOUT_S = 120.0  # the test holds a table until all wait
    print("ready", flush=True)
    sys.stdin.readline()
    await database.create_all(newer())
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
