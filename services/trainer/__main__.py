"""`python -m services.trainer`: the trainer's process."""

import asyncio

import grpc

from ingrain.v1 import trainer_pb2, trainer_pb2_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.trainer.attempts import Attempts
from services.trainer.history import History
from services.trainer.importing import Importing
from services.trainer.jobs import RayJobs
from services.trainer.kuberay import KubeRayJobs
from services.trainer.models import Models
from services.trainer.parts import Uploads
from services.trainer.reconciling import reconcile
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings
from services.trainer.training import Trainings


async def main(settings: TrainerSettings) -> None:
    database = Database(settings.database_url, schema="trainer")
    await database.create_all()
    rows = Resources(database, trainer_pb2.Model, "models")
    operations = Operations(database, {"models": rows})
    storage = open_storage(settings)
    models = Models(rows, storage)
    attempts = Attempts(database)
    history = History(attempts, models, storage)
    uploads = Uploads(database, storage, settings)
    importing = Importing(settings, models, uploads)
    jobs = KubeRayJobs(settings, storage) if settings.ray_job_template else RayJobs(settings)
    trainings = Trainings(settings, storage, models, attempts, history, jobs)
    handlers = {
        "ImportModel": (trainer_pb2.ImportModelRequest, importing.import_model),
        "UploadModel": (trainer_pb2.UploadModelHeader, importing.upload_model),
        "FinishModelUpload": (trainer_pb2.FinishModelUploadRequest, importing.finish_upload),
        "CreateModel": (trainer_pb2.CreateModelRequest, trainings.create_model),
    }
    worker = Worker(operations, handlers, settings, limits={"CreateModel": settings.trainings_at_once})

    def register(server: grpc.aio.Server) -> list[str]:
        servicer = TrainerServicer(settings, models, operations, importing, trainings, history)
        trainer_pb2_grpc.add_TrainerServicer_to_server(servicer, server)
        return ["ingrain.v1.Trainer", add_operations(server, operations)]

    background = [worker.run(), uploads.sweep(), reconcile(database, jobs)]
    await serve(settings, "trainer", register, background=background)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(TrainerSettings()))
