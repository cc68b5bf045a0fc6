"""The operation: rows are read, asked, kept shard by shard, and made a dataset.

An attempt after a crash begins behind what is kept. Shards are independent, so that one with a long answer holds up
nobody; as many are open as its rows are at the engines, and few more.
"""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field

from google.longrunning import operations_pb2

from ingrain.names import target_of
from ingrain.v1 import batches_pb2, common_pb2, datasets_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit import identity
from servicekit.errors import Invalid, NotFound
from servicekit.operations import Operations
from servicekit.pace import pace
from servicekit.peers import gateway_client
from servicekit.storage import Storage
from servicekit.worker import Task
from services.inference.batches import output
from services.inference.batches.asking import Asking, Door
from services.inference.batches.calls import Call, Target, calls_of
from services.inference.batches.estimate import estimate
from services.inference.batches.parts import BatchRows, Parts
from services.inference.batches.reading import Lines, Shard, shards
from services.inference.batches.rows import Answer, Asked, answer_of, asked_of, error_row, id_of
from services.inference.batches.window import Window
from services.inference.contexts import Contexts
from services.inference.names import Names
from services.inference.settings import InferenceSettings

ROWS_PER_REPLICA = 256  # at an engine at once: four times what it computes together
LEAST_PLACES = 2  # that a call takes, so that calls of one row do not fill the engine's queue
OPEN_SHARDS = 32  # with answers in memory
KINDS = (datasets_pb2.Dataset.PROMPTS, datasets_pb2.Dataset.PROBES)


class Batches:
    def __init__(
        self,
        settings: InferenceSettings,
        storage: Storage,
        rows: BatchRows,
        operations: Operations,
        names: Names,
        contexts: Contexts,
        door: Door,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.resources = rows
        self.operations = operations
        self.door = door
        self.window = Window(ROWS_PER_REPLICA * settings.replicas)
        self._names = names
        self._contexts = contexts

    async def answer(self, task: Task, request: batches_pb2.CreateBatchRequest) -> datasets_pb2.Dataset:
        await task.progress("reading")
        source = await self.source(request.batch.dataset)
        target = await self._target(task, request)
        parts = Parts(self.resources, self.storage, task, task.notes["begun"])
        batch = await parts.begin(source.row_count)
        lines = Lines(self.storage, self.storage.key(source.uri))
        run = Run(task, batch, parts, lines, Asking(self.door, target), self.window)
        try:
            await run.ask()
        except asyncio.CancelledError:
            if task.stopping == "cancelled":
                await self._keep_answers(task, run)
            raise
        return await self._upload(task, parts, batch)

    async def source(self, name: str) -> datasets_pb2.Dataset:
        """The dataset, if it can be asked."""
        dataset = await self._names.dataset(name)
        if dataset.kind not in KINDS:
            kind = datasets_pb2.Dataset.Kind.Name(dataset.kind)
            raise Invalid(
                "NOT_PROMPTS",
                f"{name} holds {kind}; a batch asks PROMPTS or PROBES. Rows with `messages` are PROMPTS where the "
                "upload says so (kind)",
                field="batch.dataset",
            )
        return dataset

    async def meant(self, request: batches_pb2.CreateBatchRequest, *, make: bool) -> Target:
        """Who is asked. `make`: the context of a virtual name too, which may take a while."""
        given = request.batch
        meaning = await self._names.meaning(request.parent, given.model)
        if meaning.dataset and given.context:
            raise Invalid(
                "TWO_CONTEXTS",
                f"{given.model} brings a context of its own; leave `context` empty",
                field="batch.context",
            )
        model, context = await self._names.ref(meaning.model), given.context
        if meaning.dataset and make:
            context = await self._contexts.of_dataset(identity.authorize(request.parent), meaning)
        if context:
            await self._contexts.reading(context, model)
        return Target(request.parent, model.name, context)

    async def name_operation(self, operation: operations_pb2.Operation) -> None:
        """So that a batch says who answers it before anybody does."""

        def name(batch: batches_pb2.Batch) -> None:
            batch.operation = operation.name

        with suppress(NotFound):  # asked for again when it was deleted already
            await self.resources.update(target_of(operation.name), name)

    async def estimate(self, request: batches_pb2.CreateBatchRequest) -> common_pb2.Estimate:
        """Answer to `validate_only`; makes no context."""
        source, target = await self.source(request.batch.dataset), await self.meant(request, make=False)
        model = await self._names.ref(target.model)
        read = await self._contexts.resources.get(target.context) if target.context else pb.Context()
        tokens = 0 if read.HasField("retrieval") else read.token_count
        return await estimate(self.door, self.storage, source, request.batch, target, model, tokens)

    async def _target(self, task: Task, request: batches_pb2.CreateBatchRequest) -> Target:
        """Resolved once: an alias that is promoted in the middle changes nothing, and no attempt asks another model."""
        if "target" not in task.notes:
            target = await self.meant(request, make=True)
            await task.note(target=[target.parent, target.model, target.context], begun=time.time())
        return Target(*task.notes["target"])

    async def _upload(self, task: Task, parts: Parts, batch: batches_pb2.Batch) -> datasets_pb2.Dataset:
        await task.progress("uploading", batch.row_count, batch.row_count, "rows")
        client = gateway_client(self.settings, task.project)
        return await output.upload(client, self.storage, batch, await parts.found())

    async def _keep_answers(self, task: Task, run: "Run") -> None:
        """What is answered is the output of a batch that was cancelled; one that was deleted has nobody to show it."""
        try:
            await self.resources.get(task.target)
        except NotFound:
            return
        batch = await run.keep_open()
        if batch.answered_count:
            dataset = await self._upload(task, run.parts, batch)
            await run.parts.end(dataset.name)


@dataclass
class Open:
    """A shard whose rows are being answered; such as cannot be asked have their error already."""

    shard: Shard[Asked | Answer]
    answers: list[Answer] = field(default_factory=list)
    usage: pb.Usage = field(default_factory=pb.Usage)
    keeping: asyncio.Task[None] | None = None


class Run:
    """One attempt's way through the rows."""

    def __init__(
        self,
        task: Task,
        batch: batches_pb2.Batch,
        parts: Parts,
        lines: Lines,
        asking: Asking,
        window: Window,
    ) -> None:
        self.parts = parts
        self._task = task
        self._batch = batch
        self._lines = lines
        self._asking = asking
        self._window = window
        self._open: list[Open] = []
        self._room = asyncio.Semaphore(OPEN_SHARDS)
        self._begun = time.monotonic()
        self._begun_at = batch.answered_count

    async def ask(self) -> None:
        """Until every row is answered and kept. Raises what concerns all rows, CancelledError when told to stop."""
        done = {part.span.start_row: part.span for part in await self.parts.found()}
        await self._tell()
        try:
            async with asyncio.TaskGroup() as group:
                async for shard in shards(self._lines, done, self._read):
                    await self._room.acquire()
                    opened = Open(shard, [row for row in shard.rows if isinstance(row, Answer)])
                    self._open.append(opened)
                    await self._close_if_done(opened)
                    for call in calls_of([row for row in shard.rows if isinstance(row, Asked)]):
                        places = await self._window.enter(max(LEAST_PLACES, len(call.rows)))
                        group.create_task(self._answer(opened, call, places))
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None
        finally:
            await self._kept()

    async def keep_open(self) -> batches_pb2.Batch:
        """What is answered of shards that are not finished; the batch as it stands then."""
        for opened in self._open:
            if opened.answers:
                await self._keep(opened)
        self._open.clear()
        return self._batch

    def _read(self, number: int, line: bytes) -> tuple[Asked | Answer, int]:
        row = json.loads(line)
        try:
            asked = asked_of(number, row, self._batch)
        except Invalid as error:
            return answer_of(number, error_row(id_of(number, row), error.reason, error.message)), len(line)
        return asked, len(line) + asked.form.answer_bytes

    async def _answer(self, opened: Open, call: Call, places: int) -> None:
        try:
            opened.answers += await self._asking.answers(call, opened.usage)
        finally:
            self._window.leave(places)
        await self._close_if_done(opened)

    async def _close_if_done(self, opened: Open) -> None:
        """Where it was the last answer. What is being kept is kept to the end, whoever is told to stop."""
        if len(opened.answers) < opened.shard.span.row_count or opened.keeping:
            return
        opened.keeping = asyncio.create_task(self._keep(opened))
        await asyncio.shield(opened.keeping)
        self._open.remove(opened)
        self._room.release()
        await self._tell()

    async def _keep(self, opened: Open) -> None:
        self._batch = await self.parts.keep(opened.shard.span, opened.answers, opened.usage)

    async def _kept(self) -> None:
        """No longer at work on any shard: such as are kept by now are open no more."""
        if keeping := [opened.keeping for opened in self._open if opened.keeping]:
            await asyncio.wait(keeping)
        self._open = [o for o in self._open if not (o.keeping and not o.keeping.exception())]

    async def _tell(self) -> None:
        done, total = self._batch.answered_count, self._batch.row_count
        said = [pace(done - self._begun_at, total - done, time.monotonic() - self._begun, "rows")]
        if self._batch.error_count:
            said.append(f"{self._batch.error_count} with an error")
        await self._task.progress("answering", done, total, "rows", ", ".join(filter(None, said)))
