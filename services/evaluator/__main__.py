"""`python -m services.evaluator`: the evaluator's process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from ingrain.v1 import datasets_pb2, evaluator_pb2, evaluator_pb2_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.evaluator.run import Evaluations
from services.evaluator.servicer import EvaluatorServicer
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.writing.generate import Writing
from services.evaluator.writing.probesets import COLLECTION, ProbeSets


@dataclass(frozen=True)
class Parts:
    """The service without its server."""

    database: Database
    worker: Worker
    register: Callable[[grpc.aio.Server], list[str]]


async def assemble(settings: EvaluatorSettings) -> Parts:
    database = Database(settings.database_url, schema="evaluator")
    await database.create_all()
    rows = Resources(database, evaluator_pb2.Evaluation, "evaluations")
    probesets = ProbeSets(database, datasets_pb2.Dataset, COLLECTION)
    operations = Operations(database, {"evaluations": rows, COLLECTION: probesets})
    storage = open_storage(settings)
    evaluations, writing = Evaluations(settings, storage, rows), Writing(settings, storage, probesets)
    handlers = {
        "CreateEvaluation": (evaluator_pb2.CreateEvaluationRequest, evaluations.evaluate),
        "GenerateProbes": (evaluator_pb2.GenerateProbesRequest, writing.generate),
    }

    def register(server: grpc.aio.Server) -> list[str]:
        evaluator_pb2_grpc.add_EvaluatorServicer_to_server(
            EvaluatorServicer(evaluations, writing, operations), server
        )
        return ["ingrain.v1.Evaluator", add_operations(server, operations)]

    return Parts(database, Worker(operations, handlers, settings), register)


async def run(settings: EvaluatorSettings) -> None:
    parts = await assemble(settings)
    await serve(settings, "evaluator", parts.register, background=[parts.worker.run()])
    await parts.database.close()


if __name__ == "__main__":
    asyncio.run(run(EvaluatorSettings()))
