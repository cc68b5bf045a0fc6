"""What was gathered -> what was found: costs, coverage, decision. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from services.studies import costs, coverage
from services.studies.decide import decide
from services.studies.plan import METHODS
from services.studies.report import Findings, MethodFindings
from services.studies.statistics import Answers, Interval, pooled, pooled_difference

# Pairs whose differences the report shows: everything against these, as far as they were asked.
BASELINES = ("base", "icl", "finetune")


@dataclass(frozen=True)
class Material:
    """All that a study gathered. `models` and the like are by method, `derived` by step."""

    documents: datasets_pb2.Dataset
    probes: datasets_pb2.Dataset
    model: trainer_pb2.Model
    contexts: Mapping[str, int]  # tokens of the documents by group
    context_costs: Mapping[str, common_pb2.Cost]  # of reading them, by group, as far as it is known
    probe_rows: Sequence[Mapping[str, Any]]
    models: Mapping[str, trainer_pb2.Model]
    evaluations: Mapping[str, evaluator_pb2.Evaluation]
    answers: Mapping[str, Answers]
    derived: Mapping[str, datasets_pb2.Dataset]
    augmented_rows: Sequence[Mapping[str, Any]] | None  # None where nothing was augmented
    differences: Sequence[tuple[str, str, evaluator_pb2.Difference]]


def findings(study: studies_pb2.Study, material: Material) -> Findings:
    """`study`: with its steps and a normalised spec."""
    spec = study.spec
    methods = [method for method in METHODS if method in material.evaluations]
    prices = {method: method_cost(method, material, spec.group_key) for method in methods}
    accuracies = {method: pooled(material.answers[method]) for method in methods}

    @cache
    def difference(candidate: str, baseline: str) -> Interval:
        return pooled_difference(material.answers[candidate], material.answers[baseline], spec.seed)

    decision = decide(accuracies, prices, difference, spec.question_count, spec.tolerance)
    covered = None
    if material.augmented_rows is not None:
        covered = coverage.covered_probes(material.probe_rows, material.augmented_rows, spec.group_key)
    found = {}
    for method in methods:
        answers = material.answers[method]
        pays = method != "icl" and "icl" in prices
        found[method] = MethodFindings(
            model=material.models[method],
            evaluation=material.evaluations[method],
            accuracy=accuracies[method],
            cost=prices[method],
            break_even=costs.break_even(prices[method], prices["icl"]) if pays else None,
            covered=None if covered is None else coverage.split(answers, covered, inside=True),
            uncovered=None if covered is None else coverage.split(answers, covered, inside=False),
        )
    return Findings(
        study=study,
        documents=material.documents,
        probes=material.probes,
        model=material.model,
        contexts=material.contexts,
        methods=found,
        derived=material.derived,
        differences=material.differences,
        decision=decision,
    )


def method_cost(method: str, material: Material, group_key: str) -> costs.MethodCost:
    """Building: what augmentation and training took. A question: the evaluation's mean."""
    evaluation = material.evaluations[method]
    asked = costs.amount(evaluation.cost)
    if method == "icl":
        groups = coverage.groups(material.probe_rows, group_key)
        measured = {group: costs.amount(cost) for group, cost in material.context_costs.items() if cost.flops}
        return costs.icl_cost(
            material.model, asked, evaluation.probe_count, material.contexts, groups, measured
        )
    build = costs.Amount()
    model = material.models[method]
    if model.HasField("summary"):
        build += costs.amount(model.summary.cost)
    derived = {"augmented_finetune": "augment", "shuffled_finetune": "augment shuffled"}.get(method)
    if derived:
        build += costs.amount(material.derived[derived].provenance.cost)
    return costs.MethodCost(build, asked.times(1 / evaluation.probe_count))
