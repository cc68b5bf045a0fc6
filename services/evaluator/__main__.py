"""`python -m services.evaluator`: the evaluator's process."""

import asyncio

import grpc

from ingrain.v1 import evaluator_pb2, evaluator_pb2_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.evaluator.run import Evaluations
from services.evaluator.servicer import EvaluatorServicer
from services.evaluator.settings import EvaluatorSettings


async def main(settings: EvaluatorSettings) -> None:
    database = Database(settings.database_url, schema="evaluator")
    await database.create_all()
    rows = Resources(database, evaluator_pb2.Evaluation, "evaluations")
    operations = Operations(database, {"evaluations": rows})
    evaluations = Evaluations(settings, open_storage(settings), rows)
    handlers = {"CreateEvaluation": (evaluator_pb2.CreateEvaluationRequest, evaluations.evaluate)}

    def register(server: grpc.aio.Server) -> list[str]:
        evaluator_pb2_grpc.add_EvaluatorServicer_to_server(EvaluatorServicer(evaluations, operations), server)
        return ["ingrain.v1.Evaluator", add_operations(server, operations)]

    await serve(settings, "evaluator", register, background=[Worker(operations, handlers, settings).run()])
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(EvaluatorSettings()))
