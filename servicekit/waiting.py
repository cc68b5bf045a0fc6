"""What waits for its turn says so: in the metadata of operations that no worker has claimed."""

from collections.abc import Sequence

import sqlalchemy as sa

from ingrain.v1 import common_pb2
from servicekit.operation_protos import PENDING, RUNNING
from servicekit.tables import operation as table

STAGE = "waiting"
MOST_TOLD = 200  # operations of a verb; those behind them are told when they have come nearer


def tell_waiting_in(connection: sa.Connection, verbs: Sequence[str], now: sa.ColumnElement[float]) -> None:
    """Writes stage and place in the line of the operations that could be claimed, a line for each verb. What is written
    follows from the table alone, so that several workers agree, and nothing is written twice."""
    for verb in verbs:
        _tell_line_in(connection, verb, now)


def _tell_line_in(connection: sa.Connection, verb: str, now: sa.ColumnElement[float]) -> None:
    mine = table.c.verb == verb
    running = sa.select(table.c.name, table.c.project).where(mine, table.c.state == RUNNING)
    at_work = connection.execute(running.order_by(table.c.sequence)).all()
    pending = sa.select(table.c.name, table.c.project, table.c.metadata).where(
        mine, table.c.state == PENDING, table.c.not_before <= now
    )
    line = connection.execute(pending.order_by(table.c.sequence).limit(MOST_TOLD)).all()
    for place, row in enumerate(line):
        message = waits_for([name for name, project in at_work if project == row.project], place)
        metadata = common_pb2.OperationMetadata.FromString(row.metadata)
        if (metadata.stage, metadata.message) == (STAGE, message):
            continue
        metadata.stage, metadata.message = STAGE, message
        metadata.update_time.GetCurrentTime()
        still = (table.c.name == row.name) & (table.c.state == PENDING)
        connection.execute(table.update().where(still).values(metadata=metadata.SerializeToString()))


def waits_for(at_work: list[str], place: int) -> str:
    """For a person. `at_work` are operations of the same project: of others nothing is told but that they are there."""
    behind = f"waits for its turn behind {', '.join(at_work) or 'work of another project'}"
    return f"{behind} and {place} more" if place else behind
