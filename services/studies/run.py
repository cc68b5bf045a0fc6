"""A study, from the top: check, make, ask, compare, decide, report. Run again after a crash, it finds what it made."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, studies_pb2
from servicekit.errors import DomainError, Unavailable
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from servicekit.storage import Storage
from servicekit.worker import Task
from services.studies import analyse, report
from services.studies.ensure import ensure, latest_operation
from services.studies.failures import domain_error
from services.studies.journal import Journal
from services.studies.plan import Step, plan
from services.studies.preflight import Inputs, check_unchanged, inspect, rehearse
from services.studies.records import Records, StoredReport
from services.studies.repeats import repeated
from services.studies.settings import StudiesSettings
from services.studies.statistics import answers

OUTAGE_S = 120.0  # how long the platform may be out of reach
MOST_COMPARED = 20_000  # probes that a comparison by kind names; where some repeat, those beyond are left out
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

    async def __call__(self, task: Task, request: studies_pb2.CreateStudyRequest) -> studies_pb2.Study:
        study = await self._studies.get(task.target)
        steps = plan(study.spec)
        journal = Journal(task, self._records, self._studies, [step.id for step in steps])
        client = gateway_client(self._settings, task.project)
        try:
            return await through_outages(lambda: self._run(task, client, journal, study, steps))
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
        self,
        task: Task,
        client: AsyncClient,
        journal: Journal,
        study: studies_pb2.Study,
        steps: Sequence[Step],
    ) -> studies_pb2.Study:
        spec = study.spec
        inputs = await inspect(client, spec)
        await rehearse(client, steps, inputs)
        await journal.say(
            "preflight",
            f"{inputs.documents.row_count:,} documents and {inputs.probes.row_count:,} probes checked.",
        )
        made = await make_all(client, journal, steps, inputs)
        await journal.say("compare", "Comparing the methods probe by probe.")
        material = await gather(client, spec, inputs, made)
        await check_unchanged(client, inputs, material.evaluations.values())
        del study.steps[:]
        study.steps.extend(journal.steps)
        study.end_time.GetCurrentTime()
        found, forms = await asyncio.to_thread(conclude, study, material)
        for form, content in forms.items():
            stored = await self._storage.put(f"{task.prefix}/report.{form}", content)
            at = StoredReport(f"{task.prefix}/report.{form}", stored.sha256)
            await self._records.set_report(study.name, form, at)
        study.outcomes.extend(report.outcome(name, method) for name, method in found.methods.items())
        study.recommendation.method = found.decision.method
        study.recommendation.model = found.methods[found.decision.method].model.name
        study.recommendation.reason = found.decision.reason
        study.recommendation.decisive = found.decision.decisive
        await journal.say("decide", f"Recommended: {found.decision.method}.")
        return study


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


def conclude(
    study: studies_pb2.Study, material: analyse.Material
) -> tuple[report.Findings, dict[str, bytes]]:
    """What was found, and the report in its forms."""
    from services.studies.render import render  # the template engine is needed only here

    found = analyse.findings(study, material)
    return found, render(report.build(found))


async def make_all(
    client: AsyncClient, journal: Journal, steps: Sequence[Step], inputs: Inputs
) -> Mapping[str, Any]:
    """The steps' resources by step. Independent steps run beside each other: a fit beside what the engine does.

    Within a lane one after the other, in the order of the plan: two at once would only share the same processor
    and spoil each other's measured seconds.
    """
    lanes = {"augment": (engine := asyncio.Semaphore(1)), "evaluate": engine, "train": asyncio.Semaphore(1)}
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def make(step: Step) -> Any:
        earlier = {source: await tasks[source] for source in step.needs(tasks)}
        names = inputs.names | {source: resource.name for source, resource in earlier.items()}
        digests = inputs.digests | {source: resource.sha256 for source, resource in earlier.items()}
        async with lanes[step.kind]:
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


async def gather(
    client: AsyncClient, spec: studies_pb2.StudySpec, inputs: Inputs, made: Mapping[str, Any]
) -> analyse.Material:
    """All that the conclusions need: answers, derived rows, differences."""
    evaluations = {method: made[f"evaluate {method}"] for method in spec.methods}
    results = {
        method: answers([row async for row in client.evaluations.results(evaluation.name)])
        for method, evaluation in evaluations.items()
    }
    augmented_rows = None
    if "augment" in made:
        augmented_rows = [row async for row in client.datasets.rows(made["augment"].name)]
    repeats = set(repeated(inputs.probe_rows, spec.group_key))
    once = [str(row["id"]) for row in inputs.probe_rows if row["id"] not in repeats] if repeats else []
    method_of = {evaluation.name: method for method, evaluation in evaluations.items()}
    differences = []
    for baseline in analyse.BASELINES:
        later = (
            list(spec.methods)[list(spec.methods).index(baseline) + 1 :] if baseline in evaluations else []
        )
        if later:
            names = [evaluations[method].name for method in later]
            compared = await client.evaluations.compare(
                evaluations[baseline].name, names, seed=spec.seed, probe_ids=once[:MOST_COMPARED]
            )
            differences += [(baseline, method_of[d.candidate], d) for d in compared]
    return analyse.Material(
        documents=inputs.documents,
        probes=inputs.probes,
        model=inputs.model,
        contexts=inputs.contexts,
        context_costs=await context_costs(client, spec) if "icl" in evaluations else {},
        probe_rows=inputs.probe_rows,
        models={method: made.get(f"train {method}", inputs.model) for method in spec.methods},
        evaluations=evaluations,
        answers=results,
        derived={id: made[id] for id in ("augment", "augment shuffled") if id in made},
        augmented_rows=augmented_rows,
        differences=differences,
    )


async def context_costs(client: AsyncClient, spec: studies_pb2.StudySpec) -> dict[str, common_pb2.Cost]:
    """What reading each group's documents took, of the contexts that the evaluation of `icl` left."""
    wanted = (spec.model, spec.dataset, spec.group_key, spec.distinct_key)
    found: dict[str, common_pb2.Cost] = {}
    async for context in client.contexts.list():
        selection = context.selection
        if (context.model, context.dataset, selection.key, selection.distinct_key) == wanted:
            found.setdefault(selection.value, context.cost)
    return found


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
