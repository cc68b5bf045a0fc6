"""`python -m services.augmenter`: the augmenter's process."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from ingrain.v1 import augmenter_pb2, augmenter_pb2_grpc, datasets_pb2, datasets_pb2_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.augmenter.augment import AugmenterServicer
from services.augmenter.datasets import Datasets, DatasetsServicer
from services.augmenter.pipeline import Pipeline
from services.augmenter.settings import AugmenterSettings
from services.augmenter.sweeping import Sweeping
from services.augmenter.withdrawing import VERB, Withdrawing


@dataclass(frozen=True)
class Parts:
    """The service without its server."""

    database: Database
    worker: Worker
    sweeping: Sweeping
    register: Callable[[grpc.aio.Server], list[str]]


async def assemble(settings: AugmenterSettings) -> Parts:
    database = Database(settings.database_url, schema="augmenter")
    await database.create_all()
    rows = Resources(database, datasets_pb2.Dataset, "datasets")
    operations = Operations(database, {"datasets": rows}, changing=[VERB])
    datasets = Datasets(settings, open_storage(settings), rows)
    pipeline = Pipeline(settings, datasets)
    withdrawing = Withdrawing(datasets, operations)
    handlers = {
        "ImportDataset": (datasets_pb2.ImportDatasetRequest, datasets.import_dataset),
        "AugmentDataset": (augmenter_pb2.AugmentDatasetRequest, pipeline.augment),
        VERB: (datasets_pb2.WithdrawRowsRequest, withdrawing.withdraw),
    }

    def register(server: grpc.aio.Server) -> list[str]:
        datasets_pb2_grpc.add_DatasetsServicer_to_server(DatasetsServicer(datasets, operations), server)
        augmenter_pb2_grpc.add_AugmenterServicer_to_server(AugmenterServicer(pipeline, operations), server)
        return ["ingrain.v1.Datasets", "ingrain.v1.Augmenter", add_operations(server, operations)]

    return Parts(database, Worker(operations, handlers, settings), Sweeping(datasets), register)


async def run(settings: AugmenterSettings) -> None:
    # Uploads, archives and rows wait where the operator gave room for it.
    settings.scratch.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(settings.scratch)
    parts = await assemble(settings)
    await serve(settings, "augmenter", parts.register, background=[parts.worker.run(), parts.sweeping.run()])
    await parts.database.close()


if __name__ == "__main__":
    asyncio.run(run(AugmenterSettings()))
