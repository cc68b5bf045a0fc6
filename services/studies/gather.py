"""What the platform made for a study -> material for its conclusions: answers, rows, contexts, times."""

from collections.abc import Mapping
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, evaluator_pb2, inference_pb2, studies_pb2
from servicekit.contexts import ensure_context
from services.studies import latency
from services.studies.coverage import groups
from services.studies.decide import is_control
from services.studies.material import Material
from services.studies.methods import Participant, participants
from services.studies.plan import evaluate_id, subject_context, train_id
from services.studies.preflight import Inputs
from services.studies.statistics import Answers, answers

TEXT_METRIC = "bits_per_byte"


async def gather(
    client: AsyncClient,
    spec: studies_pb2.StudySpec,
    inputs: Inputs,
    made: Mapping[str, Any],
    prices: studies_pb2.PriceTable,
    previous: Mapping[str, Any] | None,
) -> Material:
    """`made`: the steps' resources by step. `previous`: the report of an earlier study."""
    compared = participants(spec)
    evaluations = {p.id: [made[evaluate_id(p, seed)] for seed in p.seeds] for p in compared}
    weights = {
        p.id: [made[train_id(p, seed)] if p.method.trained_on else inputs.models[p.model] for seed in p.seeds]
        for p in compared
    }
    retained = {id: resource for id, resource in made.items() if id.startswith("retain ")}
    contexts = await contexts_read(client, compared, evaluations)
    return Material(
        documents=inputs.documents,
        probes=inputs.probes,
        probe_rows=inputs.probe_rows,
        participants=compared,
        models=inputs.models,
        contexts=inputs.contexts,
        weights=weights,
        evaluations=evaluations,
        answers={id: [await _answers(client, one) for one in of] for id, of in evaluations.items()},
        derived={id: resource for id, resource in made.items() if id.startswith("augment")},
        rows={
            id: [row async for row in client.datasets.rows(resource.name)]
            for id, resource in made.items()
            if id.startswith("augment")
        },
        retained=retained,
        retained_answers={
            id: await _answers(client, one)
            for id, one in retained.items()
            if all(kind.metric != TEXT_METRIC for kind in one.kinds)
        },
        contexts_read=contexts,
        latencies=await latencies(client, spec, inputs, compared, weights, contexts),
        prices=prices,
        previous=previous,
        generator=inputs.generator,
        judge=inputs.judge,
        answer_judge=inputs.answer_judge,
    )


async def _answers(client: AsyncClient, evaluation: evaluator_pb2.Evaluation) -> Answers:
    return answers([row async for row in client.evaluations.results(evaluation.name)])


async def contexts_read(
    client: AsyncClient,
    compared: list[Participant],
    evaluations: Mapping[str, list[evaluator_pb2.Evaluation]],
) -> dict[str, dict[str, inference_pb2.Context]]:
    """By participant and group: the contexts that the first evaluations read, as far as they are still there."""
    reading = {p.id: evaluations[p.id][0].contexts for p in compared if p.method.reads}
    if not any(reading.values()):
        return {id: {} for id in reading}
    there = {context.name: context async for context in client.contexts.list()}
    return {
        id: {group: there[name] for group, name in contexts.items() if name in there}
        for id, contexts in reading.items()
    }


async def latencies(
    client: AsyncClient,
    spec: studies_pb2.StudySpec,
    inputs: Inputs,
    compared: list[Participant],
    weights: Mapping[str, Any],
    contexts: Mapping[str, Mapping[str, inference_pb2.Context]],
) -> dict[str, list[float]]:
    """One after the other, so that nobody's time has another's work in it; of the first seed."""
    rows = latency.sampled(inputs.probe_rows, spec.group_key)
    writes = spec.asking == evaluator_pb2.Evaluation.GENERATION
    found = {}
    for participant in compared:
        if is_control(participant.id):
            continue
        model = weights[participant.id][0].name
        names = None
        if participant.method.reads:
            # Answers that were there already may be those of the same weights under another name, with its context.
            read = contexts[participant.id].items()
            names = {group: context.name for group, context in read if context.model == model}
            for group in dict.fromkeys(groups(rows, spec.group_key)):
                # Where all answers were there already nobody read the documents.
                if group not in names:
                    names[group] = await _context(client, spec, inputs, participant, model, group)
        found[participant.id] = await latency.measure(client, model, names, spec.group_key, rows, writes)
    return found


async def _context(
    client: AsyncClient,
    spec: studies_pb2.StudySpec,
    inputs: Inputs,
    participant: Participant,
    model: str,
    group: str,
) -> str:
    """The group's context as an evaluation of the participant would make it."""
    wanted = subject_context(spec, participant.method)
    assert wanted is not None
    selection = common_pb2.RowSelection(distinct_key=wanted.distinct_key)
    if wanted.group_key:
        selection.key, selection.value = wanted.group_key, group
    if wanted.HasField("subset"):
        selection.subset.CopyFrom(wanted.subset)
    context = inference_pb2.Context(model=model, dataset=spec.dataset, selection=selection)
    if wanted.HasField("retrieval"):
        context.retrieval.CopyFrom(wanted.retrieval)
    return await ensure_context(client, context, "documents", inputs.documents.sha256)
