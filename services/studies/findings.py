"""All that a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingrain.v1 import datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from servicekit.clusters import ClusteredMean
from services.studies import costs
from services.studies.coverage import Split
from services.studies.decide import Decision
from services.studies.statistics import Comparison


@dataclass(frozen=True)
class MethodFindings:
    """What is known of one method in the end."""

    model: trainer_pb2.Model
    evaluation: evaluator_pb2.Evaluation
    kinds: Sequence[evaluator_pb2.KindResult]  # the evaluation's, repeated probes counted once
    accuracy: ClusteredMean  # pooled: the mean over the kinds that count
    cost: costs.MethodCost
    break_even: costs.BreakEven | None  # None for icl itself and where it was not asked
    covered: Split | None  # None where nothing was augmented
    uncovered: Split | None


@dataclass(frozen=True)
class Findings:
    """`differences`: (baseline method, candidate method, difference), by kind. `comparisons`: of all usable methods,
    pooled over the kinds that are `counted`. `repeated`: probes that were left out. `ties`: choices by method.
    """

    study: studies_pb2.Study
    documents: datasets_pb2.Dataset
    probes: datasets_pb2.Dataset
    model: trainer_pb2.Model
    contexts: Mapping[str, int]  # tokens by group
    methods: Mapping[str, MethodFindings]
    derived: Mapping[str, datasets_pb2.Dataset]  # by step
    differences: Sequence[tuple[str, str, evaluator_pb2.Difference]]
    comparisons: Sequence[Comparison]
    counted: Sequence[str]
    repeated: Sequence[str]
    ties: Mapping[str, int]
    decision: Decision
