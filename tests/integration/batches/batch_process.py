"""The batches' half of the inference service over a model that echoes; as a script, a process that can be killed.

As a script it reads a job per line of JSON from its input, works in a fork until no batch is left, and answers with the
fork's exit code.
"""

import asyncio
import importlib
import json
import os
import sys
from collections import Counter
from typing import Any, NamedTuple

from ingrain.v1 import aliases_pb2, batches_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit import failpoints, worker
from servicekit.database import Database
from servicekit.errors import Exhausted, Invalid, Unavailable, WrongState
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.storage import open_storage
from servicekit.worker import Worker
from services.inference.batches.parts import BatchRows
from services.inference.batches.run import Batches
from services.inference.batches.servicer import VERB
from services.inference.contexts import Contexts
from services.inference.names import Names
from services.inference.settings import InferenceSettings


class Echo:
    """Says what it was asked and how. Prompts with `long` are refused by their place, such with `odd` without one,
    such with `fatal` as an error of all. `busy`: how many calls are refused before one is let in."""

    def __init__(self, log: str = "") -> None:
        self.log = log
        self.asked: Counter[str] = Counter()
        self.requests: list[Any] = []
        self.busy = 0
        self.at_once = self.most_at_once = 0
        self.delay_s = 0.0
        self.hold = ""  # prompts with it wait until `go`
        self.go = asyncio.Event()
        self.seen = asyncio.Event()

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        texts = [*request.prompts, *(one.chat.messages[-1].content for one in request.inputs)]
        await self._called(request, texts, "inputs" if request.inputs else "prompts")
        drawn = f" {request.seed}" if request.temperature else ""
        response = pb.GenerateResponse(model=request.model)
        for text in texts:
            response.generations.add(text=f"{text}!{drawn}", finish_reason=pb.Generation.STOP, token_count=2)
        response.usage.generated_token_count = 2 * len(texts)
        response.usage.prompt_token_count = 10 * len(texts)
        response.usage.cached_token_count = 4 * len(texts)
        return response

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        await self._called(request, [item.prompt for item in request.items], "items")
        response = pb.ScoreResponse(model=request.model)
        for item in request.items:
            choices = [
                pb.ChoiceScore(sum_logprob=-len(text), mean_logprob=-1.0, token_count=len(text))
                for text in item.choices
            ]
            response.items.add(choices=choices)
        return response

    async def CountTokens(self, request: pb.CountTokensRequest, context: Any) -> pb.CountTokensResponse:
        return pb.CountTokensResponse(token_counts=[len(text.split()) for text in request.texts])

    async def _called(self, request: Any, texts: list[str], field: str) -> None:
        if self.busy:
            self.busy -= 1
            kind = Exhausted if self.busy % 2 else Unavailable
            raise kind("ENGINE_BUSY", "try again", 0.01)
        self.requests.append(request)
        for index, text in enumerate(texts):
            if "fatal" in text:
                raise WrongState("MODEL_GONE", "the model is gone")
            if "long" in text:
                raise Invalid("PROMPT_TOO_LONG", f"{field}[{index}] is too long", field=f"{field}[{index}]")
            if "odd" in text:
                raise Invalid("BAD_CHAT", "the template refuses it", field="inputs")
        self.at_once += len(texts)
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.asked.update(texts)
            if self.log:
                with open(self.log, "a") as file:
                    file.write("".join(f"{text}\n" for text in texts))
            self.seen.set()
            if self.hold and any(self.hold in text for text in texts):
                await self.go.wait()
            await asyncio.sleep(self.delay_s)
        finally:
            self.at_once -= len(texts)


class Service(NamedTuple):
    database: Database
    operations: Operations
    batches: Batches
    worker: Worker


async def assemble(settings: InferenceSettings, door: Any) -> Service:
    database = Database(settings.database_url, schema="inference")
    await database.create_all()
    rows = Resources(database, pb.Context, "contexts")
    batch_rows = BatchRows(database, batches_pb2.Batch, "batches")
    operations = Operations(database, {"contexts": rows, "batches": batch_rows})
    names = Names(settings, Resources(database, aliases_pb2.Alias, "aliases"))
    storage = open_storage(settings)
    contexts = Contexts(settings, storage, rows, operations, names, None)  # type: ignore[arg-type]
    batches = Batches(settings, storage, batch_rows, operations, names, contexts, door)
    handlers = {VERB: (batches_pb2.CreateBatchRequest, batches.answer)}
    return Service(database, operations, batches, Worker(operations, handlers, settings))


async def work(settings: InferenceSettings, log: str) -> None:
    service = await assemble(settings, Echo(log))
    working = asyncio.create_task(service.worker.run())
    while True:
        found, _ = await service.operations.list("projects/demo/batches")
        if found and all(operation.done for operation in found):
            break
        await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.wait([working])
    await service.database.close()


def run_jobs() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)  # answers are the parent's
            os.environ["INGRAIN_FAILPOINT"] = job["failpoint"]
            importlib.reload(failpoints)
            worker.random.seed()
            asyncio.run(work(InferenceSettings(**job["settings"]), job["log"]))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    run_jobs()
