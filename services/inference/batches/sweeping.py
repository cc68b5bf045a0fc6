"""Batches that were cancelled while no attempt was at work: what they had answered becomes their output too."""

import asyncio

import sqlalchemy as sa
import structlog

from ingrain import errors as sdk_errors
from ingrain.v1 import batches_pb2
from servicekit import identity
from servicekit.errors import DomainError, NotFound
from servicekit.operation_protos import CANCELLED
from servicekit.peers import gateway_client
from servicekit.tables import operation
from services.inference.batches import output
from services.inference.batches.parts import found_in, table
from services.inference.batches.run import Batches

log = structlog.get_logger()
PAUSE_S = 30.0


async def sweep(batches: Batches, pause_s: float = PAUSE_S) -> None:
    """Until cancelled. Several processes may find the same batch: the same upload gives the same dataset."""
    while True:
        try:
            for name in await without_output(batches):
                await keep(batches, name)
        except (DomainError, sdk_errors.IngrainError) as error:
            log.warning("sweep_failed", error=repr(error))
        await asyncio.sleep(pause_s)


async def without_output(batches: Batches) -> list[str]:
    query = (
        sa.select(table.c.batch)
        .distinct()
        .join(operation, operation.c.target == table.c.batch)
        .where(operation.c.state == CANCELLED)
    )
    rows = await batches.resources.database.run(lambda connection: connection.execute(query).all())
    found = []
    for row in rows:
        try:
            if not (await batches.resources.get(row.batch)).output_dataset:
                found.append(row.batch)
        except NotFound:  # deleted
            continue
    return found


async def keep(batches: Batches, name: str) -> None:
    batch = await batches.resources.get(name)
    project = "/".join(name.split("/")[:2])
    identity.set_caller(identity.Caller("service", "batches", project))
    parts = await batches.resources.database.run(lambda connection: found_in(connection, name))
    client = gateway_client(batches.settings, project)
    dataset = await output.upload(client, batches.storage, batch, parts)

    def show(batch: batches_pb2.Batch) -> None:
        batch.output_dataset = dataset.name

    await batches.resources.update(name, show)
