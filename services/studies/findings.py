"""All that a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ingrain.v1 import datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from servicekit.clusters import ClusteredMean
from services.studies.costs import BreakEven, Economy, MethodCost
from services.studies.coverage import Split
from services.studies.decide import Decision
from services.studies.labels import Labels
from services.studies.limits import Limits
from services.studies.methods import Participant
from services.studies.statistics import Comparison


@dataclass(frozen=True)
class SeedFindings:
    """What one training gave."""

    seed: int
    model: trainer_pb2.Model
    evaluation: evaluator_pb2.Evaluation
    accuracy: float  # pooled like the method's


@dataclass(frozen=True)
class Support:
    """Of a part of the documents: probes whose sources were all in it, and how many of these were right."""

    n: int
    accuracy: float


@dataclass(frozen=True)
class MethodFindings:
    """What is known of one participant in the end."""

    participant: Participant
    seeds: Sequence[SeedFindings]
    kinds: Sequence[evaluator_pb2.KindResult]  # means over seeds, repeated probes counted once
    accuracy: ClusteredMean  # pooled: the mean over the kinds that count
    cost: MethodCost
    break_even: Mapping[str, BreakEven]  # by unit; empty for icl itself and where it was not asked
    covered: Split | None  # None where nothing was augmented
    uncovered: Split | None
    latencies: Sequence[float]  # seconds of single questions
    support: Support | None  # None where all documents were read, or no probe names its sources

    @property
    def model(self) -> trainer_pb2.Model:
        """The one that is handed over: of the first seed."""
        return self.seeds[0].model

    @property
    def evaluation(self) -> evaluator_pb2.Evaluation:
        return self.seeds[0].evaluation


@dataclass(frozen=True)
class Kept:
    """Share right, mean over kinds, and the difference that training made to it (None before training)."""

    accuracy: ClusteredMean
    difference: ClusteredMean | None


@dataclass(frozen=True)
class Retained:
    """What weights keep of what nobody trained on; means over seeds. None: not measured.

    `bits_per_byte`: of general text, less is better. `probes`: general probes, without context. `context`: probes about
    documents in the context that nobody trains on.
    """

    weights: str  # as Participant has them
    bits_per_byte: float | None
    probes: Kept | None
    context: Kept | None


@dataclass(frozen=True)
class Labelled:
    """What augmented rows hold of the probes; of those that were left out of training, how many."""

    labels: Labels
    excluded_count: int
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Findings:
    """`differences`: (baseline, candidate, difference) by kind. `comparisons`: of all usable participants, pooled over the
    kinds that are `counted`. `repeated`: probes that were left out. `ties`: choices by participant. `economies`: the one
    that decided first. `confidence`: share of resampled probe sets that lead to the same recommendation.
    """

    study: studies_pb2.Study
    documents: datasets_pb2.Dataset
    probes: datasets_pb2.Dataset
    models: Mapping[str, trainer_pb2.Model]  # by role
    contexts: Mapping[str, int]  # tokens by group
    methods: Mapping[str, MethodFindings]
    derived: Mapping[str, datasets_pb2.Dataset]  # by step
    labelled: Mapping[str, Labelled]  # by the same steps
    differences: Sequence[tuple[str, str, evaluator_pb2.Difference]]
    comparisons: Sequence[Comparison]
    counted: Sequence[str]
    repeated: Sequence[str]
    ties: Mapping[str, int]
    retained: Sequence[Retained]
    economies: Sequence[Economy]
    decision: Decision
    confidence: float
    limits: Limits
    prices: studies_pb2.PriceTable
    previous: Mapping[str, Any] | None
    clusters_by: str = ""  # what probes stand or fall with: the group key, `document`, or nothing
    step_prices: Mapping[str, Decimal] = field(default_factory=dict)  # of those that have one
    judge_prices: Mapping[str, Decimal] = field(
        default_factory=dict
    )  # of judges' parts that have one, by step
    generator: trainer_pb2.Model | None = None  # who inferred, where it is not the model that was trained
    judge: trainer_pb2.Model | None = None  # who judged what was inferred
    answer_judge: trainer_pb2.Model | None = None  # who judged written answers

    @property
    def model(self) -> trainer_pb2.Model:
        return self.models["model"]
