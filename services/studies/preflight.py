"""Before anything is paid for: are the inputs there, do they fit together, can the models read them?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import datasets_pb2, evaluator_pb2, inference_pb2, studies_pb2, trainer_pb2
from services.studies.checks import (
    check_active,
    check_groups,
    check_kind,
    check_readable,
    check_trainable,
    check_window,
    input_changed,
)
from services.studies.counting import context_texts, context_tokens, count_tokens, longest_reading
from services.studies.coverage import groups
from services.studies.limits import check_budget
from services.studies.methods import participants, role_of
from services.studies.plan import (
    ANSWER_JUDGE,
    GENERATOR,
    JUDGE,
    RETAINED_CONTEXT,
    RETAINED_CONTEXT_PROBES,
    RETAINED_PROBES,
    RETAINED_TEXT,
)
from services.studies.repeats import check_contradictions

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What a study stands on. `datasets` and `models` by role; `contexts`: tokens of the documents by group, as the
    study's own model would read them in context. `device`: where questions are answered. `generator`: who infers, where that
    is another model than the one that is trained. `judge`: who judges what was inferred, where the gates name one. `answer_judge`:
    who judges written answers, where the study names one.
    """

    datasets: Mapping[str, datasets_pb2.Dataset]
    models: Mapping[str, trainer_pb2.Model]
    probe_rows: Sequence[Row]
    contexts: Mapping[str, int]
    device: str = ""
    generator: trainer_pb2.Model | None = None
    judge: trainer_pb2.Model | None = None
    answer_judge: trainer_pb2.Model | None = None

    @property
    def documents(self) -> datasets_pb2.Dataset:
        return self.datasets["documents"]

    @property
    def probes(self) -> datasets_pb2.Dataset:
        return self.datasets["probes"]

    @property
    def model(self) -> trainer_pb2.Model:
        return self.models["model"]

    def model_of(self, role: str) -> trainer_pb2.Model:
        """Of those that are compared, or of those that infer and judge."""
        return {**self.models, **self.inferring, **self._answer_judge}[role]

    @property
    def inferring(self) -> dict[str, trainer_pb2.Model]:
        """The generator and the judge, as far as there are any."""
        named = {GENERATOR: self.generator, JUDGE: self.judge}
        return {role: model for role, model in named.items() if model is not None}

    @property
    def names(self) -> dict[str, str]:
        return {role: resource.name for role, resource in self._all.items()}

    @property
    def digests(self) -> dict[str, str]:
        return {role: resource.sha256 for role, resource in self._all.items()}

    @property
    def _all(self) -> dict[str, Any]:
        return {**self.datasets, **self.models, **self.inferring, **self._answer_judge}

    @property
    def _answer_judge(self) -> dict[str, trainer_pb2.Model]:
        return {} if self.answer_judge is None else {ANSWER_JUDGE: self.answer_judge}


async def inspect(client: AsyncClient, spec: studies_pb2.StudySpec, prices: studies_pb2.PriceTable) -> Inputs:
    """Reads and checks the inputs of a normalised spec. Raises Invalid or WrongState that say what to do."""
    datasets = {role: await client.datasets.get(name) for role, (name, _, _) in _datasets(spec).items()}
    for role, (_, kind, field) in _datasets(spec).items():
        check_kind(datasets[role], kind, field)
    models = {"model": await client.models.get(spec.model)}
    check_active(models["model"], "study.spec.model")
    for i, contender in enumerate(spec.contenders):
        models[role_of(contender)] = await client.models.get(contender.model)
        check_active(models[role_of(contender)], f"study.spec.contenders[{i}].model")
    check_trainable(spec, models)
    generator = await _usable(client, spec.augmentation.model, "study.spec.augmentation.model")
    judge = await _usable(client, spec.augmentation.gates.judge, "study.spec.augmentation.gates.judge")
    answer_judge = await _usable(client, spec.judge.model, "study.spec.judge.model")
    document_rows = [row async for row in client.datasets.rows(spec.dataset)]
    probe_rows = [row async for row in client.datasets.rows(spec.probes)]
    if spec.group_key:
        check_groups(document_rows, spec.group_key, spec.dataset)
        check_groups(probe_rows, spec.group_key, spec.probes)
    check_contradictions(probe_rows, spec.group_key)
    texts = context_texts(document_rows, spec.group_key, spec.distinct_key)
    contexts = {}
    for role, model in models.items():
        contexts[role] = await context_tokens(client, model, texts)
        if model.domain:
            words = sum(len(text.split()) for group in texts.values() for text in group)
            check_readable(model, sum(contexts[role].values()), words)
    await check_windows(client, spec, models, contexts, probe_rows)
    engine = await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest())
    device = engine.environment.device
    inputs = Inputs(datasets, models, probe_rows, contexts["model"], device, generator, judge, answer_judge)
    check_budget(spec.requirements, prices, device, [*models.values(), *inputs.inferring.values()])
    return inputs


async def _usable(client: AsyncClient, name: str, field: str) -> trainer_pb2.Model | None:
    """The model; None where none is named."""
    if not name:
        return None
    model = await client.models.get(name)
    check_active(model, field)
    return model


def _datasets(
    spec: studies_pb2.StudySpec,
) -> dict[str, "tuple[str, datasets_pb2.Dataset.Kind, str]"]:
    """Name, kind and field of each dataset that is named, by role."""
    documents, probes = datasets_pb2.Dataset.DOCUMENTS, datasets_pb2.Dataset.PROBES
    kept = spec.retention
    named = {
        "documents": (spec.dataset, documents, "study.spec.dataset"),
        "probes": (spec.probes, probes, "study.spec.probes"),
        RETAINED_TEXT: (kept.text, documents, "study.spec.retention.text"),
        RETAINED_PROBES: (kept.probes, probes, "study.spec.retention.probes"),
        RETAINED_CONTEXT: (kept.context, documents, "study.spec.retention.context"),
        RETAINED_CONTEXT_PROBES: (kept.context_probes, probes, "study.spec.retention.context_probes"),
    }
    return {role: entry for role, entry in named.items() if entry[0]}


def settled(spec: studies_pb2.StudySpec, inputs: Inputs) -> studies_pb2.StudySpec:
    """The spec with what only the inputs could tell: whoever gives no log-likelihoods is asked for text, and so is
    everyone who is compared with it."""
    spec_ = studies_pb2.StudySpec()
    spec_.CopyFrom(spec)
    if any(model.HasField("endpoint") for model in inputs.models.values()):
        spec_.asking = evaluator_pb2.Evaluation.GENERATION
    return spec_


async def check_windows(
    client: AsyncClient,
    spec: studies_pb2.StudySpec,
    models: Mapping[str, trainer_pb2.Model],
    contexts: Mapping[str, Mapping[str, int]],
    probe_rows: Sequence[Row],
) -> None:
    """Who reads all documents, or a part of them that is known beforehand, has room for them."""
    shares: dict[str, float] = {}
    for participant in participants(spec):
        share = {"all": 1.0, "subset": spec.subset.share}.get(participant.method.reads, 0.0)
        shares[participant.model] = max(shares.get(participant.model, 0.0), share)
    for role, share in shares.items():
        if share:
            questions = [longest_reading(row) for row in probe_rows]
            counts = await count_tokens(client, models[role].name, questions)
            read = {group: int(share * count) for group, count in contexts[role].items()}
            check_window(models[role], read, groups(probe_rows, spec.group_key), counts)


async def check_unchanged(
    client: AsyncClient, inputs: Inputs, evaluations: Iterable[evaluator_pb2.Evaluation]
) -> None:
    """At the end: the inputs are what they were at the start, and every method was asked these probes."""
    known: list[Any] = [*inputs.datasets.values(), *inputs.models.values(), *inputs.inferring.values()]
    for before in known:
        getter = client.datasets if isinstance(before, datasets_pb2.Dataset) else client.models
        now = await getter.get(before.name)
        if before.sha256 != now.sha256:
            raise input_changed(now.name, before.sha256, now.sha256)
    for evaluation in evaluations:
        if evaluation.probes_sha256 and evaluation.probes_sha256 != inputs.probes.sha256:
            raise input_changed(evaluation.probes, inputs.probes.sha256, evaluation.probes_sha256)
