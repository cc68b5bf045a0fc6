"""`python -m services.inference`: the door's process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from ingrain.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    batches_pb2,
    batches_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
)
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.inference.alias_servicer import AliasServicer
from services.inference.aliases import Aliases
from services.inference.backend import Backend, make_backend
from services.inference.batches.parts import COLLECTION, BatchRows
from services.inference.batches.run import Batches
from services.inference.batches.servicer import VERB, BatchServicer
from services.inference.batches.sweeping import sweep
from services.inference.contexts import Contexts
from services.inference.endpoints import Endpoints
from services.inference.names import Names
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings

POLL_S = 0.2
BATCHES_AT_ONCE = 2  # of this process's operations; contexts are never kept waiting by them


@dataclass(frozen=True)
class Parts:
    """The service without its server."""

    database: Database
    backend: Backend
    worker: Worker
    contexts: Contexts
    batches: Batches
    register: Callable[[grpc.aio.Server], list[str]]

    async def work(self) -> None:
        """Contexts wait for the engine, without spending their attempts on its absence."""
        while not await self.backend.ready():
            await asyncio.sleep(POLL_S)
        expiring = self.contexts.leases.sweep(self.contexts.delete)
        await asyncio.gather(self.worker.run(), sweep(self.batches), expiring)


async def assemble(settings: InferenceSettings) -> Parts:
    database = Database(settings.database_url, schema="inference")
    await database.create_all()
    rows = Resources(database, inference_pb2.Context, "contexts")
    batch_rows = BatchRows(database, batches_pb2.Batch, COLLECTION)
    operations = Operations(database, {"contexts": rows, COLLECTION: batch_rows})
    storage = open_storage(settings)
    backend = Endpoints(make_backend(settings), settings)
    alias_rows = Resources(database, aliases_pb2.Alias, "aliases")
    names = Names(settings, alias_rows)
    aliases = Aliases(settings, alias_rows, names)
    contexts = Contexts(settings, storage, rows, operations, names, backend)
    servicer = InferenceServicer(names, contexts, backend)
    batches = Batches(settings, storage, batch_rows, operations, names, contexts, servicer)
    handlers = {
        "CreateContext": (inference_pb2.CreateContextRequest, contexts.create),
        VERB: (batches_pb2.CreateBatchRequest, batches.answer),
    }
    worker = Worker(operations, handlers, settings, limits={VERB: BATCHES_AT_ONCE})

    def register(server: grpc.aio.Server) -> list[str]:
        inference_pb2_grpc.add_InferenceServicer_to_server(servicer, server)
        aliases_pb2_grpc.add_AliasesServicer_to_server(AliasServicer(aliases), server)
        batches_pb2_grpc.add_BatchesServicer_to_server(BatchServicer(batches), server)
        own = ["ingrain.v1.Inference", "ingrain.v1.Aliases", "ingrain.v1.Batches"]
        return [*own, add_operations(server, operations)]

    return Parts(database, backend, worker, contexts, batches, register)


async def run(settings: InferenceSettings) -> None:
    parts = await assemble(settings)
    background = [parts.backend.run(), parts.work()]
    await serve(settings, "inference", parts.register, background, ready=parts.backend.ready)
    await parts.database.close()


if __name__ == "__main__":
    asyncio.run(run(InferenceSettings()))
