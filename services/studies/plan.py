"""StudySpec -> the steps that make something, with what each stands on. Pure.

    augment [local|global|shuffled]   documents, model[, judge]           -> datasets/augmented-...
    leave out of augment [...]        derived, probes                     -> datasets/unasked-...
    train M [seed S]                  model, documents[, derived]         -> models/M-...
    evaluate M [seed S]               model, probes[, documents][, judge] -> evaluations/M-...
    retain W of M [seed S]            model, what nobody trains on        -> evaluations/W-M-...

M is a method, or a method with a contender: `icl@large`. A step's fingerprint is a digest over its kind, the digests
of its inputs and its settings; its resource is named after the fingerprint. Whoever asks for the same step again, in
this study or another, finds what was made.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ingrain.v1 import augmenter_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from services.studies.augmenting import GLOBAL, LOCAL, only
from services.studies.methods import UNITS, Method, Participant, participants

# Every row counts alike, whether a person wrote it or the model.
ORIGINAL_WEIGHT = 1.0
DERIVED_WEIGHT = 1.0
_DERIVED = {
    "all": "augment",
    "local": "augment local",
    "global": "augment global",
    "shuffled": "augment shuffled",
}
_PREFIXES = {
    "all": "augmented",
    "local": "augmented-local",
    "global": "augmented-global",
    "shuffled": "shuffled",
}
GENERATOR = "generator"  # the role of the model that infers where it is not the one that is trained
JUDGE = "judge"  # the role of the model that judges what was inferred, where the gates name one
ANSWER_JUDGE = "answer judge"  # the role of the model that judges written answers, where the study names one
LEAVE_OUT = "leave out of "
# Roles of what is measured before and after every training.
RETAINED_TEXT, RETAINED_PROBES = "retained text", "retained probes"
RETAINED_CONTEXT, RETAINED_CONTEXT_PROBES = "retained context", "retained context probes"

M = TypeVar("M", bound=Message)

_FORMAT = 1  # part of every fingerprint; raised when the same settings begin to mean something else


@dataclass(frozen=True)
class Step:
    """One resource to make. `inputs`: role -> a role among the study's inputs, or the id of an earlier step."""

    id: str
    kind: str  # augment, exclude, train or evaluate
    method: str  # or what a method is with, `finetune@large`
    prefix: str  # beginning of the resource's id
    inputs: Mapping[str, str]
    settings: Message  # AugmentationSpec, Exclusion, TrainingSpec or Evaluation, without the names of inputs

    @property
    def collection(self) -> str:
        made = {"augment": "datasets", "exclude": "datasets", "train": "models", "evaluate": "evaluations"}
        return made[self.kind]

    def needs(self, steps: Mapping[str, object]) -> list[str]:
        """The earlier steps that it stands on."""
        return [source for source in self.inputs.values() if source in steps]


def plan(spec: studies_pb2.StudySpec) -> list[Step]:
    """The steps of a normalised spec; each comes after those that it needs."""
    compared = participants(spec)
    steps: dict[str, Step] = {}
    for participant in compared:
        for step in _augmentation(spec, participant):
            steps.setdefault(step.id, step)
    for participant in compared:
        for step in _trainings(spec, participant):
            steps.setdefault(step.id, step)
    for participant in compared:
        for step in _evaluations(spec, participant):
            steps.setdefault(step.id, step)
    if spec.HasField("retention"):
        for step in _retention(spec, compared):
            steps.setdefault(step.id, step)
    return list(steps.values())


def augment_id(participant: Participant) -> str:
    """The step that derives what it is trained on; empty where that is the documents alone."""
    step = _DERIVED.get(participant.method.trained_on, "")
    return f"{step}{suffix(participant)}" if step else ""


def exclude_id(spec: studies_pb2.StudySpec, participant: Participant) -> str:
    """The step that leaves rows out of what was derived for it; empty where that is trained on as it is."""
    step = augment_id(participant)
    return f"{LEAVE_OUT}{step}" if step and spec.HasField("exclusion") else ""


def train_id(participant: Participant, seed: int) -> str:
    """The step that trains it; empty where it is not trained."""
    return (
        f"train {participant.weights}{_of_seed(participant, seed)}" if participant.method.trained_on else ""
    )


def evaluate_id(participant: Participant, seed: int) -> str:
    return f"evaluate {participant.id}{_of_seed(participant, seed)}"


def retain_id(what: str, weights: str, seed_number: int = 0) -> str:
    """`what`: text, probes or context. `weights`: as Participant has them."""
    return f"retain {what} of {weights}" + (f" seed {seed_number + 1}" if seed_number else "")


def suffix(participant: Participant) -> str:
    return participant.id.removeprefix(participant.method.name)


def fingerprint(step: Step, digests: Mapping[str, str]) -> str:
    """Hex digest of the step. `digests`: role -> sha256, for every role in `step.inputs`."""
    identity = {
        "format": _FORMAT,
        "kind": step.kind,
        "inputs": {role: digests[role] for role in step.inputs},
        "settings": MessageToDict(step.settings, preserving_proto_field_name=True),
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def resource_id(step: Step, digest: str, attempt: int = 1) -> str:
    """`finetune-0123456789abcdef`; `attempt` counts the tries at resources that failed before."""
    return f"{step.prefix}-{digest[:16]}" + (f"-{attempt}" if attempt > 1 else "")


def request_uuid(collection: str, id: str, digest: str) -> str:
    """The same UUID for the same step, so that asking twice makes one."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{collection}/{id}/{digest}"))


def subject_context(spec: studies_pb2.StudySpec, method: Method) -> evaluator_pb2.SubjectContext | None:
    """What is in the context of whom the method answers with, but for the documents' name."""
    if not method.reads:
        return None
    context = evaluator_pb2.SubjectContext(group_key=spec.group_key, distinct_key=spec.distinct_key)
    if method.reads == "subset":
        context.subset.CopyFrom(spec.subset)
    if method.reads in UNITS:
        context.retrieval.CopyFrom(spec.retrieval)
        context.retrieval.unit = UNITS[method.reads]
    return context


def _of_seed(participant: Participant, seed: int) -> str:
    """Nothing for the first seed, so that a study of one names its steps plainly."""
    number = participant.seeds.index(seed)
    return f" seed {number + 1}" if number else ""


def _augmentation(spec: studies_pb2.StudySpec, participant: Participant) -> Iterator[Step]:
    kind = participant.method.trained_on
    if kind not in _DERIVED:
        return
    settings = augmenter_pb2.AugmentationSpec()
    settings.CopyFrom(only(kind, spec.augmentation) if kind in (LOCAL, GLOBAL) else spec.augmentation)
    settings.shuffled = kind == "shuffled"
    settings.model = ""
    model = GENERATOR if spec.augmentation.model else participant.model
    inputs = {"documents": "documents", "model": model}
    if settings.gates.judge:
        settings.gates.judge = ""
        inputs["judge"] = JUDGE
    yield Step(augment_id(participant), "augment", participant.id, _PREFIXES[kind], inputs, settings)
    if step := exclude_id(spec, participant):
        sources = {"documents": "documents", "derived": augment_id(participant), "probes": "probes"}
        yield Step(step, "exclude", participant.id, f"unasked-{_PREFIXES[kind]}", sources, spec.exclusion)


def _trainings(spec: studies_pb2.StudySpec, participant: Participant) -> Iterator[Step]:
    if not participant.method.trained_on:
        return
    for seed in participant.seeds:
        settings = trainer_pb2.TrainingSpec()
        settings.CopyFrom(spec.training)
        settings.seed = seed
        if spec.matching == studies_pb2.TOKENS:
            settings.max_tokens, settings.max_steps = tokens_of(settings), 0
        settings.datasets.append(trainer_pb2.WeightedDataset(weight=ORIGINAL_WEIGHT))
        inputs = {"model": participant.model, "documents": "documents"}
        if derived := exclude_id(spec, participant) or augment_id(participant):
            settings.datasets.append(trainer_pb2.WeightedDataset(weight=DERIVED_WEIGHT))
            inputs["derived"] = derived
        prefix = participant.weights.partition("@")[0].replace("_", "-")
        yield Step(train_id(participant, seed), "train", participant.weights, prefix, inputs, settings)


def tokens_of(training: trainer_pb2.TrainingSpec) -> int:
    """What `max_steps` steps without padding hold; zeros in the spec mean the trainer's defaults."""
    rows = (training.per_device_train_batch_size or 4) * (training.gradient_accumulation_steps or 1)
    return training.max_steps * rows * (training.num_workers or 1) * (training.max_length or 256)


def _evaluations(spec: studies_pb2.StudySpec, participant: Participant) -> Iterator[Step]:
    for seed in participant.seeds:
        settings = evaluator_pb2.Evaluation(cluster_key=spec.group_key)
        if spec.asking == evaluator_pb2.Evaluation.GENERATION:
            settings.asking = spec.asking
        inputs = {"model": train_id(participant, seed) or participant.model, "probes": "probes"}
        if spec.HasField("judge"):
            settings.judge.CopyFrom(spec.judge)
            settings.judge.model = ""
            inputs["judge"] = ANSWER_JUDGE
        context = subject_context(spec, participant.method)
        if context is not None:
            settings.subject.context.CopyFrom(context)
            settings.subject.context.SetInParent()  # also without keys it tells icl from base
            inputs["documents"] = "documents"
        prefix = participant.method.name.replace("_", "-")
        yield Step(evaluate_id(participant, seed), "evaluate", participant.id, prefix, inputs, settings)


def _retention(spec: studies_pb2.StudySpec, compared: list[Participant]) -> Iterator[Step]:
    """Of every training, and of the model before it."""
    retention = spec.retention
    for participant in compared:
        if not participant.method.trained_on or participant.method.control:
            continue
        sources = [("base" + suffix(participant), 0, participant.model)]
        sources += [
            (participant.weights, number, train_id(participant, seed))
            for number, seed in enumerate(participant.seeds)
        ]
        for weights, number, model in sources:
            if retention.text:
                inputs = {"model": model, "probes": RETAINED_TEXT}
                yield _retain("text", weights, number, inputs, evaluator_pb2.Evaluation())
            if retention.probes:
                inputs = {"model": model, "probes": RETAINED_PROBES}
                yield _retain("probes", weights, number, inputs, evaluator_pb2.Evaluation())
            if retention.context:
                settings = evaluator_pb2.Evaluation(cluster_key=retention.group_key)
                settings.subject.context.group_key = retention.group_key
                settings.subject.context.distinct_key = retention.distinct_key
                settings.subject.context.SetInParent()
                inputs = {
                    "model": model,
                    "probes": RETAINED_CONTEXT_PROBES,
                    "documents": RETAINED_CONTEXT,
                }
                yield _retain("context", weights, number, inputs, settings)


def _retain(
    what: str, weights: str, number: int, inputs: Mapping[str, str], settings: evaluator_pb2.Evaluation
) -> Step:
    prefix = f"{what}-{weights.partition('@')[0]}".replace("_", "-")
    return Step(retain_id(what, weights, number), "evaluate", weights, prefix, inputs, settings)
