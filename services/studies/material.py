"""All that a study gathered, before anything is concluded from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, inference_pb2, studies_pb2, trainer_pb2
from servicekit.prices import Part, parts_of
from services.studies.methods import Participant
from services.studies.statistics import Answers


@dataclass(frozen=True)
class Material:
    """`models` are the base models by role (`model`, `model large`). By participant's id, one for each seed of training:
    `weights` (the models that answered), `evaluations` and `answers`. By step: `derived`, `rows` (augmented rows, all of them),
    `retained` and `retained_answers` (of what nobody trains on; of text there are no answers).
    """

    documents: datasets_pb2.Dataset
    probes: datasets_pb2.Dataset
    probe_rows: Sequence[Mapping[str, Any]]
    participants: Sequence[Participant]
    models: Mapping[str, trainer_pb2.Model]
    contexts: Mapping[str, int]  # tokens of all documents by group, as the study's model reads them
    weights: Mapping[str, Sequence[trainer_pb2.Model]]
    evaluations: Mapping[str, Sequence[evaluator_pb2.Evaluation]]
    answers: Mapping[str, Sequence[Answers]]
    derived: Mapping[str, datasets_pb2.Dataset] = field(default_factory=dict)
    rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    retained: Mapping[str, evaluator_pb2.Evaluation] = field(default_factory=dict)
    retained_answers: Mapping[str, Answers] = field(default_factory=dict)
    contexts_read: Mapping[str, Mapping[str, inference_pb2.Context]] = field(default_factory=dict)  # by group
    latencies: Mapping[str, Sequence[float]] = field(default_factory=dict)  # seconds of single questions
    prices: studies_pb2.PriceTable = field(default_factory=studies_pb2.PriceTable)
    previous: Mapping[str, Any] | None = None  # the earlier study's report
    generator: trainer_pb2.Model | None = None  # who infers, where it is not the model that is trained
    judge: trainer_pb2.Model | None = None  # who judges what was inferred, where the gates name one
    answer_judge: trainer_pb2.Model | None = None  # who judges written answers, where the study names one

    def generator_of(self, participant: Participant) -> trainer_pb2.Model:
        """Who inferred what the participant was trained on."""
        return self.generator or self.models[participant.model]

    def parts_of(self, step: str, cost: common_pb2.Cost, model: trainer_pb2.Model) -> list[Part]:
        """Who did what of a step's cost: `model`, and the judge where it judged what was derived."""
        derived = self.derived.get(step)
        if derived is None or not derived.provenance.HasField("judge_cost"):
            return parts_of(cost, model)
        return parts_of(cost, model, derived.provenance.judge_cost, self.judge)

    @property
    def model(self) -> trainer_pb2.Model:
        """The study's own."""
        return self.models["model"]
