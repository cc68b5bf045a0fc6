"""A service's process in miniature, for the tests that kill it: creates an operation, or works until none is left.

Reads a job per line of JSON from its input, runs each in a process of its own and answers with its exit code. The
processes are forks: imports take seconds, and there are many to be killed.
"""

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

from ingrain.v1 import trainer_pb2 as pb
from servicekit import failpoints, worker
from servicekit.database import Database
from servicekit.errors import Unavailable
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.settings import ServiceSettings
from servicekit.worker import Task, Worker

REQUEST = pb.ImportModelRequest(
    parent="projects/p", source_uri="hf://a/b", request_id="6ba7b810-9dad-11d1-80b4-00c04fd430c8"
)


async def main(url: str, schema: str, effects: str, what: str, flaky: bool) -> None:
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
            if step == 1 and flaky and task.attempt == 1:
                raise Unavailable("AWAY", "a neighbour is away")
            with Path(effects, f"step-{step}").open("a") as file:
                file.write(f"{task.fence}\n")
            await task.progress(f"step {step}", step + 1, 3, "steps")
            await task.note(done=step)
        model = await models.get(task.target)
        model.architecture = "Done"
        return model

    settings = ServiceSettings(lease_s=1.0)
    working = asyncio.create_task(
        Worker(operations, {"ImportModel": (pb.ImportModelRequest, handler)}, settings).run()
    )
    while True:
        found, _ = await operations.list("projects/p/models")
        if found and all(operation.done for operation in found):
            break
        await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.wait([working])
    await database.close()


def run_jobs() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)  # answers are the parent's
            os.environ["INGRAIN_FAILPOINT"] = job.pop("failpoint")
            importlib.reload(failpoints)
            worker.random.seed()
            asyncio.run(main(**job))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    run_jobs()
