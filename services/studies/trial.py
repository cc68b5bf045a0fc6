"""How long a study's steps will take, from small ones that are really done: some documents augmented, some probes asked, two
short trainings. What is made is named after its content, so that the next estimate finds it, and so does the study itself:
answers and outputs of the trial are not asked for again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2, evaluator_pb2, studies_pb2
from servicekit.errors import Unavailable
from services.studies import plan as planning
from services.studies.costs import Amount, amount
from services.studies.methods import Participant, participants
from services.studies.plan import Step, augment_id, evaluate_id, train_id
from services.studies.preflight import Inputs
from services.studies.requests import create, create_request, get, whole_cost
from services.studies.sampling import content_id, sample

SHORT, LONGER = 6, 24  # optimizer steps: what a training takes at once, and for each further step
MOST_TRIES = 5


@dataclass(frozen=True)
class Trial:
    """Processor seconds by step, and of reading documents by participant. `judging`: what judges took, by the steps whose seconds
    theirs are among."""

    seconds: Mapping[str, float]
    reading: Mapping[str, float]
    notes: list[str]
    judging: Mapping[str, Amount] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.seconds.values()) + sum(self.reading.values())


class Trials:
    """The small steps of one study."""

    def __init__(self, client: AsyncClient, spec: studies_pb2.StudySpec, inputs: Inputs) -> None:
        self._client = client
        self._spec = spec
        self._inputs = inputs
        self._made: dict[str, Any] = {}

    async def run(self) -> Trial:
        spec, inputs = self._spec, self._inputs
        rows = [row async for row in self._client.datasets.rows(spec.dataset)]
        small = sample(rows, inputs.probe_rows, spec.group_key, spec.distinct_key)
        documents = await self._upload(list(small.documents), "documents")
        probes = await self._upload(list(small.probes), "probes")
        seconds: dict[str, float] = {}
        reading: dict[str, float] = {}
        judging: dict[str, Amount] = {}
        for participant in participants(spec):
            if (step := augment_id(participant)) and step not in seconds:
                made = await self._augment(participant, documents)
                seconds[step] = made.cost.compute_seconds / small.document_share
                if made.HasField("judge_cost"):
                    judging[step] = amount(made.judge_cost).times(1 / small.document_share)
            for seed in participant.seeds if participant.method.trained_on else ():
                step = train_id(participant, seed)
                if step not in seconds:
                    seconds[step] = await self._train(participant, seed, documents)
            evaluation = await self._evaluate(participant, documents, probes)
            each = whole_cost(evaluation).compute_seconds / small.probe_share
            asked = [evaluate_id(participant, seed) for seed in participant.seeds]
            seconds |= dict.fromkeys(asked, each)
            if evaluation.HasField("judge_cost"):
                judging |= dict.fromkeys(asked, amount(evaluation.judge_cost).times(1 / small.probe_share))
            if participant.method.reads in ("all", "subset"):
                reading[participant.id] = await self._reading(participant, evaluation)
        seconds |= await self._retention()
        notes = [
            f"{len(small.documents):,} documents and {len(small.probes):,} probes were tried, and trainings of {SHORT} and "
            f"{LONGER} steps; what they gave is kept and not done again."
        ]
        return Trial(seconds, reading, notes, judging)

    async def _augment(
        self, participant: Participant, documents: datasets_pb2.Dataset
    ) -> datasets_pb2.Provenance:
        step = self._step(augment_id(participant))
        models = {role: source for role, source in step.inputs.items() if role != "documents"}
        resources = {role: self._inputs.model_of(source) for role, source in models.items()}
        made = await self._ensure(step, {"documents": documents, **resources})
        provenance: datasets_pb2.Provenance = made.provenance
        return provenance

    async def _train(self, participant: Participant, seed: int, documents: datasets_pb2.Dataset) -> float:
        """On the documents alone: a step takes as long whatever its rows say."""
        planned = self._step(train_id(participant, seed))
        took = {}
        for count in (SHORT, LONGER):
            settings = type(planned.settings)()
            settings.CopyFrom(planned.settings)
            settings.max_steps, settings.max_tokens, settings.seed = count, 0, 0
            settings.save_steps = count
            del settings.datasets[1:]
            inputs = {"model": planned.inputs["model"], "documents": "documents"}
            step = Step(planned.id, "train", planned.method, "trial", inputs, settings)
            model = await self._ensure(
                step, {"model": self._inputs.models[participant.model], "documents": documents}
            )
            took[count] = model.summary.cost.compute_seconds
        each = (took[LONGER] - took[SHORT]) / (LONGER - SHORT)
        at_once = max(0.0, took[SHORT] - SHORT * each)
        steps = planned.settings.max_steps or self._spec.training.max_steps
        return at_once + each * steps

    async def _evaluate(
        self, participant: Participant, documents: datasets_pb2.Dataset, probes: datasets_pb2.Dataset
    ) -> evaluator_pb2.Evaluation:
        """By the untrained model: training changes no time of an answer."""
        planned = self._step(evaluate_id(participant, participant.seeds[0]))
        inputs = {**planned.inputs, "model": participant.model}
        step = Step(planned.id, "evaluate", planned.method, "trial", inputs, planned.settings)
        resources = {
            "model": self._inputs.models[participant.model],
            "probes": probes,
            "documents": documents,
        }
        if "judge" in inputs:
            resources["judge"] = self._inputs.model_of(inputs["judge"])
        made: evaluator_pb2.Evaluation = await self._ensure(step, resources)
        return made

    async def _reading(self, participant: Participant, evaluation: evaluator_pb2.Evaluation) -> float:
        """Of all groups' documents, by the time that a token of those took that were read."""
        names = set(evaluation.contexts.values())
        read = [c async for c in self._client.contexts.list() if c.name in names and c.token_count]
        if not read:
            return 0.0
        each = sum(c.cost.compute_seconds for c in read) / sum(c.token_count for c in read)
        share = self._spec.subset.share if participant.method.reads == "subset" else 1.0
        return each * share * sum(self._inputs.contexts.values())

    async def _retention(self) -> dict[str, float]:
        """Before training, for each of the models before and after."""
        spec = self._spec.retention
        steps = [step for step in planning.plan(self._spec) if step.id.startswith("retain ")]
        took: dict[str, float] = {}
        for step in steps:
            what = step.id.split()[1]
            if what not in took:
                took[what] = await self._retained(step, spec)
        return {step.id: took[step.id.split()[1]] for step in steps}

    async def _retained(self, step: Step, spec: studies_pb2.Retention) -> float:
        asked = self._inputs.datasets[step.inputs["probes"]]
        rows = [row async for row in self._client.datasets.rows(asked.name)]
        resources: dict[str, Any] = {"model": self._inputs.model}
        if "documents" in step.inputs:
            read = self._inputs.datasets[step.inputs["documents"]]
            texts = [row async for row in self._client.datasets.rows(read.name)]
            small = sample(texts, rows, spec.group_key, spec.distinct_key)
            resources["documents"] = await self._upload(list(small.documents), "documents")
            resources["probes"] = await self._upload(list(small.probes), "probes")
            share = small.probe_share
        else:
            small = sample([], rows, "")
            kind = "documents" if asked.kind == datasets_pb2.Dataset.DOCUMENTS else "probes"
            resources["probes"] = await self._upload(list(small.probes), kind)
            share = small.probe_share
        inputs = {**step.inputs, "model": "model"}
        tried = Step(step.id, "evaluate", step.method, "trial", inputs, step.settings)
        return (await self._ensure(tried, resources)).cost.compute_seconds / share

    def _step(self, id: str) -> Step:
        return next(step for step in planning.plan(self._spec) if step.id == id)

    async def _upload(self, rows: list[Any], kind: str) -> datasets_pb2.Dataset:
        id = content_id(f"trial-{kind}", rows)
        try:
            return await self._client.datasets.get(f"{self._client.parent}/datasets/{id}")
        except errors.NotFound:
            request_id = planning.request_uuid("datasets", id, self._client.parent)
            return await self._client.datasets.upload(
                rows, id=id, kind=kind, display_name="for an estimate", request_id=request_id
            )

    async def _ensure(self, step: Step, resources: Mapping[str, Any]) -> Any:
        """The step's resource, made once for the same inputs and settings."""
        used = {role: resources[role] for role in step.inputs}
        digest = planning.fingerprint(step, {role: resource.sha256 for role, resource in used.items()})
        if digest in self._made:
            return self._made[digest]
        names = {role: resource.name for role, resource in used.items()}
        for number in range(1, MOST_TRIES + 1):
            id = f"trial-{digest[:16]}" + (f"-{number}" if number > 1 else "")
            request_id = planning.request_uuid(step.collection, id, digest)
            request = create_request(step, self._client.parent, names, id=id, request_id=request_id)
            try:
                await self._client.operations.wait(await create(self._client, step, request))
                self._made[digest] = await get(
                    self._client, step, f"{self._client.parent}/{step.collection}/{id}"
                )
            except (errors.NotFound, errors.OperationCancelled):
                continue  # deleted or cancelled: the name stays taken
            return self._made[digest]
        raise Unavailable("NO_TRIAL", f"the trial of `{step.id}` could not be made", 30.0)
