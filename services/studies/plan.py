"""StudySpec -> the steps that make something, with what each stands on. Pure.

    augment            documents, model            -> datasets/augmented-...
    augment shuffled   documents, model            -> datasets/shuffled-...
    train M            model, documents[, derived] -> models/M-...
    evaluate M         model[, documents], probes  -> evaluations/M-...

A step's fingerprint is a digest over its kind, the digests of its inputs and its settings; its resource is named
after the fingerprint. Whoever asks for the same step again, in this study or another, finds what was made.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ingrain.v1 import evaluator_pb2, studies_pb2, trainer_pb2
from servicekit.errors import Invalid

# In the order in which they are run and shown.
METHODS = ("base", "icl", "finetune", "augmented_finetune", "shuffled_finetune")
DEFAULT_METHODS = METHODS[:4]
CONTROLS = ("shuffled_finetune",)  # tell why a method works; nobody would use them
STRATEGIES = ("rephrase", "reverse", "infer", "link", "about")

DEFAULT_SAMPLES_PER_DOCUMENT = 3
DEFAULT_TEMPERATURE = 0.7
DEFAULT_MAX_STEPS = 400
DEFAULT_QUESTION_COUNT = 10_000
DEFAULT_TOLERANCE = 0.02

# Every row counts alike, whether a person wrote it or the model.
ORIGINAL_WEIGHT = 1.0
DERIVED_WEIGHT = 1.0

M = TypeVar("M", bound=Message)

_FORMAT = 1  # part of every fingerprint; raised when the same settings begin to mean something else


@dataclass(frozen=True)
class Step:
    """One resource to make. `inputs`: role -> `documents`, `probes`, `model`, or the id of an earlier step."""

    id: str
    kind: str  # augment, train or evaluate
    method: str
    prefix: str  # beginning of the resource's id
    inputs: Mapping[str, str]
    settings: Message  # AugmentationSpec, TrainingSpec or Evaluation, without the names of inputs

    @property
    def collection(self) -> str:
        return {"augment": "datasets", "train": "models", "evaluate": "evaluations"}[self.kind]

    def needs(self, steps: Mapping[str, object]) -> list[str]:
        """The earlier steps that it stands on."""
        return [source for source in self.inputs.values() if source in steps]


def normalised(spec: studies_pb2.StudySpec) -> studies_pb2.StudySpec:
    """The spec with every default written out. Raises Invalid for what cannot be compared."""
    spec = _copy(spec)
    methods = list(dict.fromkeys(spec.methods)) or list(DEFAULT_METHODS)
    for i, method in enumerate(spec.methods):
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise Invalid(
                "UNKNOWN_METHOD",
                f"{method!r} is not a method; known are {known}.",
                field=f"study.spec.methods[{i}]",
                method=method,
                known=known,
            )
    spec.methods[:] = [method for method in METHODS if method in methods]
    if spec.training.num_train_epochs and not spec.training.max_steps:
        raise Invalid(
            "EPOCHS_NOT_COMPARABLE",
            "A study gives every training the same number of optimizer steps; set training.max_steps instead of num_train_epochs.",
            field="study.spec.training.num_train_epochs",
        )
    spec.training.num_train_epochs = 0
    spec.training.max_steps = spec.training.max_steps or DEFAULT_MAX_STEPS
    spec.training.base_model = ""
    del spec.training.datasets[:]
    spec.training.seed = spec.augmentation.seed = spec.seed

    augmentation = spec.augmentation
    augmentation.dataset = augmentation.model = ""
    augmentation.strategies[:] = list(augmentation.strategies) or list(STRATEGIES)
    augmentation.samples_per_document = augmentation.samples_per_document or DEFAULT_SAMPLES_PER_DOCUMENT
    if not augmentation.HasField("temperature"):
        augmentation.temperature = DEFAULT_TEMPERATURE
    augmentation.group_key = spec.group_key
    augmentation.distinct_key = augmentation.distinct_key or spec.distinct_key
    augmentation.prompt_set = augmentation.prompt_set or "default"
    augmentation.shuffled = False

    spec.question_count = spec.question_count or DEFAULT_QUESTION_COUNT
    if not spec.HasField("tolerance"):
        spec.tolerance = DEFAULT_TOLERANCE
    return spec


def plan(spec: studies_pb2.StudySpec) -> list[Step]:
    """The steps of a normalised spec; each comes after those that it needs."""
    augmented = "augmented_finetune" in spec.methods
    shuffled = "shuffled_finetune" in spec.methods
    steps = []
    if augmented:
        steps.append(_augment(spec, "augment", "augmented_finetune", shuffled=False))
    if shuffled:
        steps.append(_augment(spec, "augment shuffled", "shuffled_finetune", shuffled=True))
    if "finetune" in spec.methods:
        steps.append(_train(spec, "finetune", derived=None))
    if augmented:
        steps.append(_train(spec, "augmented_finetune", derived="augment"))
    if shuffled:
        steps.append(_train(spec, "shuffled_finetune", derived="augment shuffled"))
    return steps + [_evaluate(spec, method) for method in spec.methods]


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


def _augment(spec: studies_pb2.StudySpec, id: str, method: str, shuffled: bool) -> Step:
    settings = _copy(spec.augmentation)
    settings.shuffled = shuffled
    inputs = {"documents": "documents", "model": "model"}
    return Step(id, "augment", method, "shuffled" if shuffled else "augmented", inputs, settings)


def _train(spec: studies_pb2.StudySpec, method: str, derived: str | None) -> Step:
    settings = _copy(spec.training)
    settings.datasets.append(trainer_pb2.WeightedDataset(weight=ORIGINAL_WEIGHT))
    inputs = {"model": "model", "documents": "documents"}
    if derived:
        settings.datasets.append(trainer_pb2.WeightedDataset(weight=DERIVED_WEIGHT))
        inputs["derived"] = derived
    return Step(f"train {method}", "train", method, method.replace("_", "-"), inputs, settings)


def _evaluate(spec: studies_pb2.StudySpec, method: str) -> Step:
    settings = evaluator_pb2.Evaluation(cluster_key=spec.group_key)
    inputs = {"model": "model" if method in ("base", "icl") else f"train {method}", "probes": "probes"}
    if method == "icl":
        settings.subject.context.SetInParent()  # also without keys it tells icl from base
        settings.subject.context.group_key = spec.group_key
        settings.subject.context.distinct_key = spec.distinct_key
        inputs["documents"] = "documents"
    return Step(f"evaluate {method}", "evaluate", method, method.replace("_", "-"), inputs, settings)


def _copy(message: M) -> M:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
