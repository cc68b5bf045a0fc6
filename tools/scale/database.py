"""How many transactions of PostgreSQL an operation takes that does nothing: counted with the platform's own worker, on a server of its own."""

import asyncio
import tempfile

import sqlalchemy as sa

from ingrain.v1 import trainer_pb2 as pb
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.settings import ServiceSettings
from servicekit.tables import operation as table
from servicekit.worker import Task, Worker

OPERATIONS = 20


async def transactions_of_an_operation(url: str) -> float:
    """From its request to its end; looks for work that find none are not among them."""
    database = Database(url, schema="scale")
    models = Resources(database, pb.Model, "models")
    operations = Operations(database, {"models": models})
    await database.create_all()
    commits = 0

    def count(_: sa.Connection) -> None:
        nonlocal commits
        commits += 1

    async def nothing(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        return await models.get(task.target)

    sa.event.listen(database.engine, "commit", count)
    for number in range(OPERATIONS):
        request = pb.ImportModelRequest(parent="projects/p", source_uri="hf://a/b")
        await operations.start("ImportModel", request, pb.Model(name=f"projects/p/models/m{number}"))
    worker = Worker(operations, {"ImportModel": (pb.ImportModelRequest, nothing)}, ServiceSettings())
    working = asyncio.create_task(worker.run())
    left = sa.select(sa.func.count()).where(table.c.state.in_(("PENDING", "RUNNING")))
    looks = 1
    while await database.run(lambda connection: connection.execute(left).scalar_one()):
        looks += 1
        await asyncio.sleep(0.2)
    found = (commits - looks) / OPERATIONS
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await database.close()
    return found


def counted() -> float:
    import pgserver

    server = pgserver.get_server(tempfile.mkdtemp(prefix="ingrain-scale-"), cleanup_mode="delete")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        return round(asyncio.run(transactions_of_an_operation(url)), 1)
    finally:
        server.cleanup()


if __name__ == "__main__":
    print(counted())
