"""ProbeSpec -> a complete frozen value, with every default resolved and every name checked."""

from dataclasses import dataclass

from ingrain.v1 import datasets_pb2, evaluator_pb2, trainer_pb2
from servicekit.errors import Invalid
from services.evaluator.writing.prompts import KINDS

COUNT_PER_KIND = 30


@dataclass(frozen=True)
class Spec:
    style: str  # cloze or question
    kinds: tuple[str, ...]
    count_per_kind: int
    group_key: str
    distinct_key: str
    seed: int


@dataclass(frozen=True)
class Inputs:
    """`window`: tokens that both models can read."""

    dataset: datasets_pb2.Dataset
    writer: trainer_pb2.Model
    checker: trainer_pb2.Model
    window: int
    spec: Spec


def resolve(given: evaluator_pb2.ProbeSpec, model: trainer_pb2.Model) -> Spec:
    """Style by the model where none is given: a model with a domain writes what it was made to write."""
    style = given.style
    if style == evaluator_pb2.ProbeSpec.STYLE_UNSPECIFIED:
        style = evaluator_pb2.ProbeSpec.CLOZE if model.domain else evaluator_pb2.ProbeSpec.QUESTION
    name = evaluator_pb2.ProbeSpec.Style.Name(style).lower()
    for index, kind in enumerate(given.kinds):
        if kind not in KINDS[name]:
            raise Invalid(
                "UNKNOWN_KIND",
                f"{name} has no kind {kind!r}; it has {', '.join(KINDS[name])}",
                field=f"spec.kinds[{index}]",
            )
    return Spec(
        style=name,
        kinds=tuple(dict.fromkeys(given.kinds)) or KINDS[name],
        count_per_kind=given.count_per_kind or COUNT_PER_KIND,
        group_key=given.group_key,
        distinct_key=given.distinct_key,
        seed=given.seed,
    )
