"""What was gathered -> what was found: costs, coverage, decision. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from services.studies import costs, coverage, repeats
from services.studies.decide import decide, usable
from services.studies.findings import Findings, MethodFindings
from services.studies.plan import METHODS
from services.studies.statistics import Answers, compare_all, counted_kinds, pooled

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
    repeated = repeats.repeated(material.probe_rows, spec.group_key)
    answers = {method: material.answers[method].without(repeated) for method in methods}
    counted = counted_kinds(answers[methods[0]])
    of_counted = {method: answers[method].of_kinds(counted) for method in methods}
    accuracies = {method: pooled(of_counted[method], spec.seed) for method in methods}
    compared = {method: of_counted[method] for method in usable(methods)}
    comparisons = compare_all(compared, spec.tolerance, spec.seed)
    values = {method: mean.value for method, mean in accuracies.items()}
    decision = decide(values, prices, comparisons, spec.question_count, spec.tolerance)
    covered = None
    if material.augmented_rows is not None:
        covered = coverage.covered_probes(material.probe_rows, material.augmented_rows, spec.group_key)
    found = {}
    for method in methods:
        evaluation = material.evaluations[method]
        pays = method != "icl" and "icl" in prices
        found[method] = MethodFindings(
            model=material.models[method],
            evaluation=evaluation,
            kinds=repeats.recount(evaluation.kinds, answers[method]) if repeated else list(evaluation.kinds),
            accuracy=accuracies[method],
            cost=prices[method],
            break_even=costs.break_even(prices[method], prices["icl"]) if pays else None,
            covered=None if covered is None else coverage.split(answers[method], covered, inside=True),
            uncovered=None if covered is None else coverage.split(answers[method], covered, inside=False),
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
        comparisons=comparisons,
        counted=counted,
        repeated=repeated,
        ties={method: answers[method].tied for method in methods if answers[method].tied},
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
