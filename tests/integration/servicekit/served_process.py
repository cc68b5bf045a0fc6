"""A whole service in miniature, served as the real ones are. `GetDataset` takes as many seconds as the id says.

python served_process.py FOLDER
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import datasets_pb2_grpc as pb_grpc
from servicekit.database import Database
from servicekit.operations import Operations, add_operations
from servicekit.resources import Resources
from servicekit.server import serve
from servicekit.settings import ServiceSettings
from servicekit.worker import Task, Worker


class Servicer(pb_grpc.DatasetsServicer):
    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.Dataset:
        await asyncio.sleep(float(request.name.rpartition("/")[2]))
        return pb.Dataset(name=request.name)

    async def ImportDataset(self, request: pb.ImportDatasetRequest, context: Any) -> Any:
        dataset = pb.Dataset(name=f"{request.parent}/datasets/{request.dataset_id}", uri="file:///secret")
        return await self.operations.start("ImportDataset", request, dataset, request_id=request.request_id)


async def main(folder: Path) -> None:
    settings = ServiceSettings(database_url=f"sqlite:///{folder / 'db.sqlite'}", drain_s=15, lease_s=600)
    database = Database(settings.database_url)
    await database.create_all()
    datasets = Resources(database, pb.Dataset, "datasets")
    operations = Operations(database, {"datasets": datasets})
    opening = asyncio.get_running_loop().time() + 1.0

    async def handler(task: Task, request: pb.ImportDatasetRequest) -> pb.Dataset:
        await task.progress("working", task.attempt, 3, "rows")
        if request.source_uri == "s3://hangs/once" and not (folder / "go").exists():
            await asyncio.Event().wait()
        return await datasets.get(task.target)

    async def ready() -> bool:
        return asyncio.get_running_loop().time() > opening

    def register(server: grpc.aio.Server) -> list[str]:
        pb_grpc.add_DatasetsServicer_to_server(Servicer(operations), server)
        return ["ingrain.v1.Datasets", add_operations(server, operations)]

    worker = Worker(operations, {"ImportDataset": (pb.ImportDatasetRequest, handler)}, settings)
    await serve(settings, "datasets", register, background=[worker.run()], ready=ready)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
