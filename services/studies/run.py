"""A study, from the top: check, make, ask, compare, decide, report. Run again after a crash, it finds what it made."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ingrain import AsyncClient, errors
from ingrain.v1 import studies_pb2
from servicekit.errors import DomainError, Invalid, Unavailable
from servicekit.peers import gateway_client
from servicekit.prices import load_prices
from servicekit.resources import Resources
from servicekit.storage import Storage
from servicekit.worker import Deferred, Task
from services.studies import analyse, report
from services.studies.ensure import ensure, latest_operation
from services.studies.failures import domain_error
from services.studies.findings import Findings
from services.studies.gather import gather
from services.studies.journal import Journal
from services.studies.material import Material
from services.studies.plan import Step, plan, subject_context
from services.studies.preflight import Inputs, check_unchanged, inspect, settled
from services.studies.records import Records, StoredReport
from services.studies.rehearsal import rehearse
from services.studies.reuse import reuse
from services.studies.settings import StudiesSettings

OUTAGE_S = 120.0  # how long the platform may be out of reach
PAUSED_S = 5.0  # a paused study is looked at so often, besides being woken
CANCEL_S = 10.0  # how long children are asked to end before the study gives up on telling them


class Runner:
    """The handler of CreateStudy operations."""

    def __init__(
        self,
        settings: StudiesSettings,
        studies: Resources[studies_pb2.Study],
        records: Records,
        storage: Storage,
    ) -> None:
        self._settings = settings
        self._studies = studies
        self._records = records
        self._storage = storage
        self._prices = load_prices(settings.prices)

    async def __call__(self, task: Task, request: studies_pb2.CreateStudyRequest) -> studies_pb2.Study:
        study = await self._studies.get(task.target)
        if study.paused:
            raise Deferred(PAUSED_S)
        steps = plan(study.spec)  # their ids; what inputs settle changes none of them
        journal = Journal(task, self._records, self._studies, [step.id for step in steps])
        client = gateway_client(self._settings, task.project)
        try:
            return await through_outages(lambda: self._run(task, client, journal, study))
        except Paused:
            await journal.say_again("Paused: steps at work go on to their end, no further one begins.")
            raise Deferred(PAUSED_S) from None
        except asyncio.CancelledError:
            if task.stopping == "cancelled":
                await cancel_children(client, journal)
                await journal.cancelled()
                await journal.say("cancelled", "The study was cancelled; what was finished is kept.")
            raise
        except DomainError as error:
            if not isinstance(error, Unavailable):  # which is tried again, with the same children
                await cancel_children(client, journal)
                await journal.say("failed", f"The study failed: {error.message}")
            raise

    async def _run(
        self, task: Task, client: AsyncClient, journal: Journal, study: studies_pb2.Study
    ) -> studies_pb2.Study:
        previous = await self._previous(task, study.spec.previous_study)
        inputs = await inspect(client, study.spec, self._prices)
        spec = settled(study.spec, inputs)
        study.spec.CopyFrom(spec)
        steps = plan(spec)
        await rehearse(client, steps, inputs)
        await journal.say(
            "preflight",
            f"{inputs.documents.row_count:,} documents and {inputs.probes.row_count:,} probes checked.",
        )
        made = await make_all(client, journal, steps, inputs, lambda: self._check_not_paused(study.name))
        await journal.say("reuse", reuse(journal.steps, made).sentence)
        await journal.say("compare", "Comparing the methods probe by probe.")
        material = await gather(client, spec, inputs, made, self._prices, previous)
        await check_unchanged(client, inputs, [e for of in material.evaluations.values() for e in of])
        del study.steps[:]
        study.steps.extend(journal.steps)
        study.end_time.GetCurrentTime()
        found, forms = await asyncio.to_thread(conclude, study, material)
        for form, content in forms.items():
            stored = await self._storage.put(f"{task.prefix}/report.{form}", content)
            at = StoredReport(f"{task.prefix}/report.{form}", stored.sha256)
            await self._records.set_report(study.name, form, at)
        study.outcomes.extend(report.outcome(id, method, found) for id, method in found.methods.items())
        study.recommendation.CopyFrom(recommendation(found))
        await journal.say("decide", f"Recommended: {found.decision.method or 'no method'}.")
        return study

    async def _previous(self, task: Task, name: str) -> dict[str, Any] | None:
        """The earlier study's report. Raises Invalid where there is none."""
        if not name:
            return None
        stored = await self._records.report(name, "json") if name.startswith(f"{task.project}/") else None
        if stored is None:
            raise Invalid(
                "NO_PREVIOUS_REPORT",
                f"{name} has no report to stand beside this one; leave previous_study out, or name a study that has ended.",
                field="study.spec.previous_study",
            )
        report: dict[str, Any] = json.loads(await self._storage.get(stored.storage_key))
        return report

    async def _check_not_paused(self, name: str) -> None:
        if (await self._studies.get(name)).paused:
            raise Paused


class Paused(Exception):
    """No further step is to begin."""


def recommendation(found: Findings) -> studies_pb2.Recommendation:
    """For the Study resource."""
    decision = found.decision
    made = studies_pb2.Recommendation(
        method=decision.method,
        reason=decision.reason,
        decisive=decision.decisive,
        confidence=found.confidence,
        changes=decision.changes,
    )
    if decision.method:
        winner = found.methods[decision.method]
        made.model = winner.model.name
        context = subject_context(found.study.spec, winner.participant.method)
        if context is not None:
            made.context.CopyFrom(context)
            made.context.dataset = found.documents.name
    return made


async def through_outages(run: Callable[[], Awaitable[studies_pb2.Study]]) -> studies_pb2.Study:
    """Runs it, and runs it again from the top while the platform cannot be reached, up to OUTAGE_S."""
    reachable, pause_s = time.monotonic(), 0.5
    while True:
        started = time.monotonic()
        try:
            return await run()
        except errors.IngrainError as raised:
            error = domain_error(raised)
            if time.monotonic() - started > OUTAGE_S:
                reachable, pause_s = time.monotonic(), 0.5
            if not isinstance(error, Unavailable) or time.monotonic() - reachable > OUTAGE_S:
                raise error from raised
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 10.0)


def conclude(study: studies_pb2.Study, material: Material) -> tuple[Findings, dict[str, bytes]]:
    """What was found, and the report in its forms."""
    from services.studies.render import render  # the template engine is needed only here

    found = analyse.findings(study, material)
    return found, render(report.build(found))


async def make_all(
    client: AsyncClient,
    journal: Journal,
    steps: Sequence[Step],
    inputs: Inputs,
    before_each: Callable[[], Awaitable[None]],
) -> Mapping[str, Any]:
    """The steps' resources by step. Independent steps run beside each other: a fit beside what the engine does.

    Within a lane one after the other, in the order of the plan: two at once would only share the same processor
    and spoil each other's measured seconds.
    """
    engine = asyncio.Semaphore(1)
    lanes = {"augment": engine, "exclude": engine, "evaluate": engine, "train": asyncio.Semaphore(1)}
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def make(step: Step) -> Any:
        earlier = {source: await tasks[source] for source in step.needs(tasks)}
        names = inputs.names | {source: resource.name for source, resource in earlier.items()}
        digests = inputs.digests | {source: resource.sha256 for source, resource in earlier.items()}
        async with lanes[step.kind]:
            await before_each()
            try:
                return await ensure(
                    client,
                    journal,
                    step,
                    {role: names[source] for role, source in step.inputs.items()},
                    {role: digests[source] for role, source in step.inputs.items()},
                )
            except (DomainError, errors.IngrainError) as error:
                if isinstance(error, DomainError) or not isinstance(domain_error(error), Unavailable):
                    await journal.failed(step.id, str(error))
                raise

    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                tasks[step.id] = group.create_task(make(step))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {id: task.result() for id, task in tasks.items()}


async def cancel_children(client: AsyncClient, journal: Journal) -> None:
    """Asks the operations that this study started to end; those that cannot be reached are left."""

    async def cancel(resource: str, operation: str) -> None:
        with contextlib.suppress(errors.IngrainError):
            # Cancelled between asking and hearing the answer: the operation may be there without our knowing.
            found = operation or getattr(await latest_operation(client, resource), "name", "")
            if found:
                await client.operations.cancel(found)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_S):
            await asyncio.gather(*(cancel(*entry) for entry in journal.at_work().items()))
