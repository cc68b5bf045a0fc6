"""`python -m services.studies`: the door of the studies."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from ingrain.v1 import studies_pb2, studies_pb2_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.studies.records import Records
from services.studies.run import Runner
from services.studies.servicer import StudiesServicer
from services.studies.settings import StudiesSettings


@dataclass(frozen=True)
class Parts:
    """The service without its server."""

    database: Database
    worker: Worker
    register: Callable[[grpc.aio.Server], list[str]]


async def assemble(settings: StudiesSettings) -> Parts:
    database = Database(settings.database_url, schema="studies")
    await database.create_all()
    storage = open_storage(settings)
    studies = Resources(database, studies_pb2.Study, "studies")
    operations = Operations(database, {"studies": studies})
    records = Records(database)
    runner = Runner(settings, studies, records, storage)
    worker = Worker(operations, {"CreateStudy": (studies_pb2.CreateStudyRequest, runner)}, settings)

    def register(server: grpc.aio.Server) -> list[str]:
        servicer = StudiesServicer(settings, studies, operations, records, storage)
        studies_pb2_grpc.add_StudiesServicer_to_server(servicer, server)
        return ["ingrain.v1.Studies", add_operations(server, operations)]

    return Parts(database, worker, register)


async def run(settings: StudiesSettings) -> None:
    parts = await assemble(settings)
    await serve(settings, "studies", parts.register, background=[parts.worker.run()])
    await parts.database.close()


if __name__ == "__main__":
    asyncio.run(run(StudiesSettings()))
