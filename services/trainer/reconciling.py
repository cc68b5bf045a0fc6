"""Jobs that nobody watches any more are stopped: a training may be cancelled while no trainer has it in hands, or while Ray or Kubernetes
is away; a trainer that lost its fence may still submit what it has noted.

Any number of trainers may do so at once. Jobs of operations that this database does not know belong to another platform.
"""

import asyncio
import json

import sqlalchemy as sa
import structlog

from servicekit.database import Database
from servicekit.operation_protos import ENDED, SUCCEEDED
from servicekit.tables import operation as table
from services.trainer.jobs import Jobs

log = structlog.get_logger()
LOOK_SECONDS = 60.0
# For the driver of a training that has its model, to end by itself.
ENDING_SECONDS = 600.0


async def reconcile(database: Database, jobs: Jobs) -> None:
    """For as long as the process runs."""
    while True:
        try:
            await stop_unwatched(database, jobs)
        except Exception as error:  # database, Ray or Kubernetes are away for a while, or refuse
            log.warning("jobs cannot be looked through", error=repr(error))
        await asyncio.sleep(LOOK_SECONDS)


async def stop_unwatched(database: Database, jobs: Jobs) -> None:
    """Once. Nobody is asked before there was a training. Returns when all that it stops have ended."""
    attempted = sa.select(table.c.name).where(table.c.notes.contains('"attempted": true')).limit(1)
    if await database.run(lambda connection: connection.execute(attempted).first()) is None:
        return
    # An attempt is noted before its job is made: what is listed here is noted by now, or is noted no more.
    unended = await jobs.unended()
    unwatched = [id for id, prefix in unended.items() if await is_unwatched(database, id, prefix)]
    for id in unwatched:
        log.warning("stops a job that nobody watches", job=id)
    await asyncio.gather(*(jobs.stop(id) for id in unwatched))


async def is_unwatched(database: Database, id: str, prefix: str) -> bool:
    """`prefix`: of the attempt, `{target}/{operation}-{fence}`."""
    target, _, attempt = prefix.rpartition("/")
    operation, _, fence = attempt.rpartition("-")
    age = (database.now() - table.c.updated).label("age")
    named = sa.select(table.c.state, table.c.fence, table.c.notes, age).where(
        table.c.name == f"{target}/operations/{operation}"
    )
    row = await database.run(lambda connection: connection.execute(named).one_or_none())
    if row is None or not fence.isdigit():
        return False
    if row.state == SUCCEEDED:
        return bool(row.age > ENDING_SECONDS)
    if row.state in ENDED:
        return True
    return int(fence) < row.fence and json.loads(row.notes).get("job") != id
