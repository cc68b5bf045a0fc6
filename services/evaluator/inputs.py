"""What an evaluation names, checked and read: model, probes, documents, judge."""

from collections.abc import Collection
from dataclasses import dataclass

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, datasets_pb2, trainer_pb2
from ingrain.v1 import evaluator_pb2 as pb
from servicekit.errors import Invalid, WrongState
from services.evaluator.judging import check_rubric
from services.evaluator.probes import Probe, probes_of, text_of, written
from services.evaluator.texts import in_windows

DOCUMENTS, PROBES = datasets_pb2.Dataset.DOCUMENTS, datasets_pb2.Dataset.PROBES


@dataclass(frozen=True)
class Inputs:
    """`shape`: the model itself, or the one that an adapter stands on. `documents_sha256`: empty without context."""

    model: trainer_pb2.Model
    shape: trainer_pb2.Model
    probes: datasets_pb2.Dataset
    documents_sha256: str
    judge_sha256: str

    @property
    def is_text(self) -> bool:
        return self.probes.kind == DOCUMENTS

    @property
    def model_key(self) -> str:
        """Of all that decides what the model gives."""
        return f"{self.model.sha256} {self.shape.sha256} {self.model.chat_template}"


async def inputs(client: AsyncClient, given: pb.Evaluation) -> Inputs:
    model = await active_model(client, given.subject.model)
    shape = await shape_of(client, model)
    probes = await usable(client, given.probes, (PROBES, DOCUMENTS), "evaluation.probes")
    has_context = given.subject.HasField("context")
    if has_context and probes.kind == DOCUMENTS:
        raise Invalid(
            "TEXT_IN_CONTEXT",
            f"{given.probes} holds DOCUMENTS, which are scored by themselves; leave `subject.context` out",
            field="evaluation.subject.context",
        )
    documents_sha256 = ""
    if has_context:
        field = "evaluation.subject.context.dataset"
        documents_sha256 = (await usable(client, given.subject.context.dataset, (DOCUMENTS,), field)).sha256
    found = Inputs(model, shape, probes, documents_sha256, await judge_digest(client, given))
    if found.is_text and model.HasField("endpoint"):
        raise _no_likelihoods(model.name, "texts cannot be scored by it", "evaluation.subject.model")
    return found


async def judge_digest(client: AsyncClient, given: pb.Evaluation) -> str:
    """Of the model that judges; empty where nobody does. Raises Invalid for a rubric that cannot be filled in."""
    if not given.HasField("judge"):
        return ""
    check_rubric(given.judge.rubric)
    model = await active_model(client, given.judge.model)
    if model.HasField("endpoint"):
        raise _no_likelihoods(model.name, "it cannot judge", "evaluation.judge.model")
    return model.sha256


async def active_model(client: AsyncClient, name: str) -> trainer_pb2.Model:
    model = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=name))
    if model.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(model.state)
        raise WrongState("MODEL_NOT_ACTIVE", f"{model.name} is {state}; only an ACTIVE model can be asked")
    return model


async def shape_of(client: AsyncClient, model: trainer_pb2.Model) -> trainer_pb2.Model:
    """The model itself, or the one that an adapter stands on."""
    return await active_model(client, model.base_model) if model.adapter else model


async def usable(
    client: AsyncClient, name: str, kinds: Collection["datasets_pb2.Dataset.Kind.ValueType"], field: str
) -> datasets_pb2.Dataset:
    """The dataset, if it can be read and holds rows of one of these kinds."""
    dataset = await client.datasets.get(name)
    if dataset.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(dataset.state)
        raise WrongState("DATASET_NOT_ACTIVE", f"{name} is {state}; only an ACTIVE dataset can be read")
    if dataset.kind not in kinds:
        wanted = [datasets_pb2.Dataset.Kind.Name(kind) for kind in kinds]
        found = datasets_pb2.Dataset.Kind.Name(dataset.kind)
        raise Invalid(
            f"NOT_{wanted[0]}", f"{name} holds {found}; here {' or '.join(wanted)} are needed", field=field
        )
    return dataset


async def read_probes(client: AsyncClient, given: pb.Evaluation, found: Inputs) -> list[Probe]:
    """As they are asked. Texts are still one window each."""
    rows = [row async for row in client.datasets.rows(given.probes)]
    probes = [text_of(row) for row in rows] if found.is_text else probes_of(rows, given.question_template)
    if given.asking == pb.Evaluation.GENERATION:
        probes = [written(probe) for probe in probes]
    choice = next((probe for probe in probes if probe.is_choice), None)
    if choice and found.model.HasField("endpoint"):
        what = f"the choices of probe {choice.id!r} cannot be compared by it; set `asking` to GENERATION"
        raise _no_likelihoods(found.model.name, what, "evaluation.asking")
    if given.HasField("judge") and not any(probe.is_written for probe in probes):
        raise Invalid(
            "NOTHING_TO_JUDGE",
            "a judge reads written answers, and nothing here is answered in writing: leave it out, or add questions",
            field="evaluation.judge",
        )
    _check_groups(probes, given.subject.context.group_key)
    return probes


async def cut_texts(client: AsyncClient, found: Inputs, probes: list[Probe]) -> list[Probe]:
    """Texts in windows that the model can read beside the mark that begins texts; all else as it is."""
    if not found.is_text:
        return probes
    return await in_windows(client, found.model, found.shape.context_window - 1, probes)


def _check_groups(probes: list[Probe], group_key: str) -> None:
    for index, probe in enumerate(probes):
        if group_key and not probe.value_of(group_key):
            raise Invalid(
                "NO_GROUP",
                f"probe {probe.id!r} (row {index + 1}) has no metadata {group_key!r}, which says what it is asked with",
                field=f"rows[{index}].metadata.{group_key}",
                row=index + 1,
            )


def _no_likelihoods(model: str, consequence: str, field: str) -> Invalid:
    return Invalid(
        "NO_LOG_LIKELIHOODS",
        f"{model} is behind an endpoint that gives text and no log-likelihoods: {consequence}",
        field=field,
        model=model,
    )
