"""A service's process in miniature, for the tests that kill it: creates an operation, or works until none is left.

python operation_process.py URL SCHEMA EFFECTS create|work
"""

import asyncio
import sys
from pathlib import Path

from ingrain.v1 import trainer_pb2 as pb
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.settings import ServiceSettings
from servicekit.worker import Task, Worker

REQUEST = pb.ImportModelRequest(
    parent="projects/p", source_uri="hf://a/b", request_id="6ba7b810-9dad-11d1-80b4-00c04fd430c8"
)


async def main(url: str, schema: str, effects: Path, what: str) -> None:
    database = Database(url, schema)
    await database.create_all()
    models = Resources(database, pb.Model, "models")
    operations = Operations(database, {"models": models})
    if what == "create":
        await operations.start(
            "ImportModel", REQUEST, pb.Model(name="projects/p/models/m"), request_id=REQUEST.request_id
        )
        return

    async def handler(task: Task, request: pb.ImportModelRequest) -> pb.Model:
        for step in range(3):
            if task.notes.get("done", -1) >= step:
                continue
            # The effect's name is its key: doing a step again leaves one effect.
            (effects / f"step-{step}").write_text(request.source_uri)
            await task.progress("working", step + 1, 3, "steps")
            await task.note(done=step)
        model = await models.get(task.target)
        model.architecture = "Done"
        return model

    settings = ServiceSettings(lease_s=1.5)
    worker = asyncio.create_task(
        Worker(operations, {"ImportModel": (pb.ImportModelRequest, handler)}, settings).run()
    )
    while True:
        found, _ = await operations.list("projects/p/models")
        if found and all(operation.done for operation in found):
            break
        await asyncio.sleep(0.05)
    worker.cancel()
    await asyncio.wait([worker])
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
