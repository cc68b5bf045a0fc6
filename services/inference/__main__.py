"""`python -m services.inference`: the door's process."""

import asyncio

import grpc

from ingrain.v1 import inference_pb2, inference_pb2_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.inference.backend import make_backend
from services.inference.contexts import Contexts
from services.inference.names import Names
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings


async def main(settings: InferenceSettings) -> None:
    database = Database(settings.database_url, schema="inference")
    await database.create_all()
    rows = Resources(database, inference_pb2.Context, "contexts")
    operations = Operations(database, {"contexts": rows})
    backend = make_backend(settings)
    names = Names(settings)
    contexts = Contexts(settings, open_storage(settings), rows, operations, names, backend)
    worker = Worker(
        operations, {"CreateContext": (inference_pb2.CreateContextRequest, contexts.create)}, settings
    )

    def register(server: grpc.aio.Server) -> list[str]:
        inference_pb2_grpc.add_InferenceServicer_to_server(
            InferenceServicer(names, contexts, backend), server
        )
        return ["ingrain.v1.Inference", add_operations(server, operations)]

    starting = asyncio.create_task(backend.start())
    await serve(settings, "inference", register, background=[worker.run()], ready=backend.ready)
    starting.cancel()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(InferenceSettings()))
