"""The Ray jobs of one training: attached to or launched, watched, stopped; what they did is committed to SQL under the fence.

An attempt's objects lie under its own prefix. Only what is noted here counts, and a note that comes without the fence changes nothing: a
job or a trainer that was given up and still lives can do no harm.
"""

import asyncio
import contextlib
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa
import structlog

from servicekit.storage import Storage
from servicekit.worker import Deferred, Task
from services.trainer import exchange, files
from services.trainer.asking import asked
from services.trainer.attempts import Attempt, Attempts
from services.trainer.committing import note_checkpoints
from services.trainer.config import TrainingConfig
from services.trainer.endings import ended_by
from services.trainer.jobs import ENDED, Jobs
from services.trainer.logs import keep_tail
from services.trainer.models import Model, Models
from services.trainer.outages import OUTAGES
from services.trainer.pausing import as_asked
from services.trainer.plan import Plan
from services.trainer.progress import ProgressReader
from services.trainer.settings import TrainerSettings
from services.trainer.spec import to_proto
from services.trainer.telling import paused_message, told

log = structlog.get_logger()
POLL_SECONDS = 0.5
STATUS_SECONDS = 2.0
PAUSED_SECONDS = 5.0  # a paused training is looked at so often, besides being woken
AGAIN_SECONDS = 1.0  # before an attempt after one that had got on
PAUSE_GRACE_SECONDS = 600.0  # a job that does not stop by itself is stopped then
NOT_BEGUN = {"QUEUED": "waits in the queue for its workers", "PENDING": "waits for its Ray cluster"}


@dataclass(frozen=True)
class Sight:
    """What a job has left so far; each at most once."""

    lines: list[dict[str, Any]]
    result: dict[str, Any] | None
    stopped: dict[str, Any] | None
    error: dict[str, Any] | None


class Running:
    """Attempts at trainings on Ray."""

    def __init__(
        self, settings: TrainerSettings, storage: Storage, models: Models, attempts: Attempts, jobs: Jobs
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.models = models
        self.attempts = attempts
        self.jobs = jobs

    async def attached(self, task: Task) -> str:
        """The prefix of an earlier attempt whose job goes on or has done its work; nothing where there is none."""
        prefix, job = task.notes.get("prefix", ""), task.notes.get("job", "")
        if not job:
            return ""
        if await exchange.get_json(self.storage, exchange.result_key(prefix)) is not None:
            return prefix
        ends = [exchange.error_key(prefix), exchange.stopped_key(prefix)]
        ended = any([await exchange.get_json(self.storage, key) is not None for key in ends])
        if not ended and await self.status(task) not in ENDED:
            log.info("attached to a running job", job=job)
            return prefix
        # It may have ended well since it was looked at.
        if await exchange.get_json(self.storage, exchange.result_key(prefix)) is not None:
            return prefix
        # Two attempts never train side by side; a job that has told its error may still be ending.
        await self.left(task)
        return ""

    async def status(self, task: Task) -> str:
        """Of the job. Deferred also where nobody may ask for it."""
        return await asked(task, self.jobs.status(task.notes["job"]), refusal_is_outage=True)

    async def left(self, task: Task) -> None:
        """The attempt is over: its job has ended, its checkpoints are committed, its working time is counted."""
        await asked(task, self.jobs.stop(task.notes["job"]))
        lines = await ProgressReader(self.storage, task.notes["prefix"]).read()
        await note_checkpoints(task, self.storage, lines)
        worked_s = task.notes.get("worked_s", 0.0) + seconds_of(lines)
        await self.note_trials(task)
        await task.note(job="", prefix="", worked_s=worked_s)

    async def note_trials(self, task: Task) -> None:
        """Trials of a learning-rate search that the attempt has made; the next makes only those that are missing."""
        if rates := task.notes["config"]["learning_rates"]:
            known = {trial["learning_rate"]: trial for trial in task.notes.get("searched", [])}
            found = await exchange.read_trials(self.storage, task.notes["prefix"], rates)
            known |= {trial["learning_rate"]: trial for trial in found}
            task.notes["searched"] = list(known.values())

    async def launched(self, task: Task, plan: Plan, base: Model) -> str:
        """Notes the job, then submits it: a crash in between leaves a note of a job that Ray does not know. Deferred while paused."""
        model = await self.models.rows.get(task.target)
        if model.paused:
            await task.progress("paused", message=paused_message(task))
            raise Deferred(PAUSED_SECONDS)
        config = as_asked(plan.config, model.training)
        checkpoint = task.notes.get("checkpoint")
        first_step = (checkpoint["step"] if checkpoint else 0) + 1
        worked_s = 0.0 if task.notes.get("paused") else task.notes.get("worked_s", 0.0)
        job = exchange.Job(
            prefix=task.prefix,
            model=task.target,
            base_model=base.name,
            base_key=files.home(self.storage, base),
            base_sha256=base.sha256,
            config=asdict(config),
            packed_key=plan.packed_key,
            packed_sha256=plan.packed_sha256,
            datasets=task.notes.get("datasets", []),
            checkpoint=checkpoint,
            best=task.notes.get("best"),
            submit_time=time.time(),
            threads=self.settings.threads_per_worker,
            worked_s=worked_s,
            searched=task.notes.get("searched", []),
        )
        submission_id = f"{task.name.rsplit('/', 1)[-1]}-{task.fence}"
        await task.progress(
            "starting", message=f"starting {config.num_workers} worker(s) from step {first_step}"
        )
        await exchange.put_job(self.storage, job)
        attempt = Attempt(task.prefix, first_step, config.max_steps)
        await self.note_attempt(
            task,
            attempt,
            config,
            job=submission_id,
            prefix=task.prefix,
            first_step=first_step,
            config=asdict(replace(config, max_duration_s=plan.config.max_duration_s)),
            worked_s=worked_s,
            paused=False,
            attempted=True,
        )
        await asked(task, self.jobs.submit(submission_id, task.prefix))
        return task.prefix

    async def note_attempt(self, task: Task, attempt: Attempt, recipe: TrainingConfig, **notes: Any) -> None:
        """All or nothing: who lost the fence changes neither what watchers follow nor what the row says of the recipe."""
        task.notes.update(notes)

        def note(connection: sa.Connection) -> None:
            task.write_in(connection, notes=json.dumps(task.notes))
            self.attempts.add_in(connection, task.target, attempt)
            model = self.models.rows.get_in(connection, task.target, lock=True)
            model.training.CopyFrom(to_proto(recipe, model.training))
            self.models.rows.replace_in(connection, model)

        await self.models.rows.database.run(note)

    async def watched(self, task: Task, prefix: str, step_count: int) -> dict[str, Any]:
        """Follows the job to its result. Its own failure is told by `error.json`; an end without any is a crash."""
        reader = ProgressReader(self.storage, prefix)
        looked, pause_time, begun, last_step, state, waited = 0.0, 0.0, False, 0, "", False
        measured: dict[str, float] = {}
        while True:
            ended = False
            if time.monotonic() - looked > STATUS_SECONDS:
                looked = time.monotonic()
                ran = begun or await self.has_run(prefix)
                state = await self.status(task)
                waited = waited or state in NOT_BEGUN
                if ran and state == "QUEUED":
                    await self.preempted(task)
                ended = state in ENDED
                pause_time = await self.paused_since(task, prefix, pause_time, state)
            try:
                sight = await self.look(reader, prefix)
            except OUTAGES as error:
                # The job rides it out too: its steps go on, its checkpoints wait.
                log.warning("object storage cannot be read", error=repr(error))
                await task.progress("training", last_step, step_count, "steps", "object storage is away")
                await asyncio.sleep(STATUS_SECONDS)
                continue
            await note_checkpoints(task, self.storage, sight.lines)
            if steps := [line for line in sight.lines if "step" in line]:
                begun, last_step = True, steps[-1]["step"]
                measured = next(
                    (line["measurement"] for line in reversed(steps) if "measurement" in line), measured
                )
                message = told(sight.lines, steps[-1], measured)
                await task.progress("training", last_step, step_count, "steps", message)
            elif not begun:
                await self.tell_waiting(task, prefix, state, waited)
            if sight.result:
                return sight.result
            if sight.stopped:
                await self.left(task)
                await self.pause(task, sight.stopped)
            if sight.error or ended:
                if sight.error and not sight.error["permanent"] and await self.status(task) == "QUEUED":
                    await self.preempted(task)  # by what took its workers from it
                if sight.error is None:
                    last = await asked(task, self.jobs.log_tail(task.notes["job"]))
                    tail = await keep_tail(self.storage, prefix, last)
                    log.warning("job ended without a result", job=task.notes["job"], log=tail)
                await self.left(task)
                if lacks_workers(task, sight.error):
                    await self.pause(task, {"reason": "resources", **sight.error})
                raise await ended_by(task, sight.error)
            await asyncio.sleep(POLL_SECONDS)

    async def has_run(self, prefix: str) -> bool:
        with contextlib.suppress(*OUTAGES):
            return await self.storage.stat(exchange.begun_key(prefix)) is not None
        return False

    async def preempted(self, task: Task) -> None:
        """Deferred, no failure: a queue took the cluster back. It would begin the attempt again from its first step; the next one goes on."""
        await self.left(task)
        await task.progress("waiting", message="the queue took its workers back")
        raise Deferred(AGAIN_SECONDS)

    async def look(self, reader: ProgressReader, prefix: str) -> Sight:
        """The ends first: whatever was written before them is then still read."""
        result, stopped, error = [
            await exchange.get_json(self.storage, key(prefix))
            for key in (exchange.result_key, exchange.stopped_key, exchange.error_key)
        ]
        return Sight(await reader.read(), result, stopped, error)

    async def paused_since(self, task: Task, prefix: str, since: float, state: str) -> float:
        """Tells the job to stop where a caller paused the training; ends it where it does not, or has not begun. When it was told, 0 where not."""
        if not (await self.models.rows.get(task.target)).paused:
            return since
        if not since:
            await exchange.put_json(self.storage, exchange.stop_key(prefix), {"reason": "paused"})
            return time.monotonic()
        if state in NOT_BEGUN or time.monotonic() - since > PAUSE_GRACE_SECONDS:
            log.warning("job does not stop by itself", job=task.notes["job"])
            await self.left(task)
            await self.pause(task, {"reason": "paused"})
        return since

    async def pause(self, task: Task, stopped: dict[str, Any]) -> None:
        """Deferred, in any case; where no caller paused it, the row says from now on that it is paused."""
        task.notes["paused"] = True

        def note(connection: sa.Connection) -> None:
            task.write_in(connection, notes=json.dumps(task.notes))
            if stopped["reason"] != "paused":
                model = self.models.rows.get_in(connection, task.target, lock=True)
                model.paused = True
                self.models.rows.replace_in(connection, model)

        await self.models.rows.database.run(note)
        await task.progress("paused", message=paused_message(task, stopped))
        raise Deferred(AGAIN_SECONDS)

    async def tell_waiting(self, task: Task, prefix: str, state: str, waited: bool) -> None:
        """Says what the job waits for, or its driver waits for or searches, until its steps begin. `waited`: whether the job has."""
        if state in NOT_BEGUN:
            return await task.progress("waiting", message=NOT_BEGUN[state])
        waiting = await exchange.get_json(self.storage, exchange.waiting_key(prefix))
        if waiting and await exchange.get_json(self.storage, exchange.started_key(prefix)) is None:
            await task.progress("waiting", message=waiting["message"])
        elif not await self.tell_searching(task, prefix) and (waiting or waited):
            await task.progress("starting", message="starting the workers")

    async def tell_searching(self, task: Task, prefix: str) -> bool:
        """Whether the job searches for a learning rate."""
        rates = task.notes["config"]["learning_rates"]
        if not rates or await exchange.get_json(self.storage, exchange.search_key(prefix)):
            return False
        trials = [*task.notes.get("searched", []), *await exchange.read_trials(self.storage, prefix, rates)]
        losses = {trial["learning_rate"]: trial["eval_loss"] for trial in trials}
        told = [
            f"{rate:g} diverged" if loss is None else f"{rate:g}: {loss:.4f}" for rate, loss in losses.items()
        ]
        message = f"trying learning rates; eval_loss so far: {', '.join(told) or 'none'}"
        await task.progress("searching", len(losses), len(rates), "rates", message)
        return True


def seconds_of(lines: list[dict[str, Any]]) -> float:
    """From the attempt's first step to its last."""
    times = [line["time"] for line in lines if "step" in line]
    return times[-1] - times[0] if times else 0.0


def lacks_workers(task: Task, error: dict[str, Any] | None) -> bool:
    """Whether a training that had begun finds no room for its workers any more: who asked for so many decides how it goes on."""
    return error is not None and error["reason"] == "NO_RAY_RESOURCES" and bool(task.notes.get("checkpoint"))
