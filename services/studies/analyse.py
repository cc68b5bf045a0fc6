"""What was gathered -> what was found: costs, coverage, decision. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from ingrain.v1 import evaluator_pb2, studies_pb2
from servicekit.clusters import ClusteredMean
from services.studies import costs, coverage, repeats, retention
from services.studies.decide import Decision, decide, usable
from services.studies.findings import Findings, Labelled, MethodFindings, SeedFindings, Support
from services.studies.labels import labelled, left
from services.studies.limits import limits_of
from services.studies.material import Material
from services.studies.pricing import method_cost
from services.studies.statistics import (
    Answers,
    alone,
    by_kind,
    compare_all,
    counted_kinds,
    mean_over_seeds,
    pooled,
    stability,
)
from services.studies.step_prices import judge_prices, step_prices

# Pairs whose differences by kind the report shows: everything against these, as far as they were asked.
BASELINES = ("base", "icl", "finetune")


def findings(study: studies_pb2.Study, material: Material) -> Findings:
    """`study`: with its steps and a normalised spec."""
    spec = study.spec
    compared = list(material.participants)
    bills = {p.id: method_cost(p, material, spec) for p in compared}
    repeated = repeats.repeated(material.probe_rows, spec.group_key)
    by_seed = {p.id: [a.without(repeated) for a in material.answers[p.id]] for p in compared}
    answers = {id: mean_over_seeds(of_seeds) for id, of_seeds in by_seed.items()}
    counted = counted_kinds(answers[compared[0].id])
    of_counted = {id: one.of_kinds(counted) for id, one in answers.items()}
    accuracies = {id: pooled(one, spec.seed) for id, one in of_counted.items()}
    comparisons = compare_all({id: of_counted[id] for id in usable(list(answers))}, spec.tolerance, spec.seed)
    economies = costs.economies(bills, spec.question_count, material.prices.currency_code)
    limits = limits_of(spec.requirements, economies[0], material.latencies)
    titles = {p.id: p.title for p in compared}
    values = {id: mean.value for id, mean in accuracies.items()}
    decision = decide(values, titles, economies[0], comparisons, spec.tolerance, limits)
    labels = {
        step: labelled(material.probe_rows, rows, spec.group_key) for step, rows in material.rows.items()
    }
    excluded = {step: one.excluded(spec.exclusion) for step, one in labels.items()}
    covered = _covered(material, spec.group_key, excluded)
    found = {}
    for participant in compared:
        id = participant.id
        of_seeds = [
            SeedFindings(seed, model, evaluation, pooled(one.of_kinds(counted)).value)
            for seed, model, evaluation, one in zip(
                participant.seeds, material.weights[id], material.evaluations[id], by_seed[id], strict=True
            )
        ]
        kinds = list(material.evaluations[id][0].kinds)
        found[id] = MethodFindings(
            participant=participant,
            seeds=of_seeds,
            kinds=repeats.recount(kinds, answers[id]) if repeated or len(of_seeds) > 1 else kinds,
            accuracy=accuracies[id],
            cost=bills[id],
            break_even=_break_evens(id, bills, economies),
            covered=None if covered is None else coverage.split(answers[id], covered, inside=True),
            uncovered=None if covered is None else coverage.split(answers[id], covered, inside=False),
            latencies=material.latencies.get(id, ()),
            support=_support(kinds),
        )
    return Findings(
        study=study,
        documents=material.documents,
        probes=material.probes,
        models=material.models,
        contexts=material.contexts,
        methods=found,
        derived=material.derived,
        labelled={
            step: Labelled(one, len(excluded[step]), material.rows[step]) for step, one in labels.items()
        },
        differences=list(differences(answers, spec.seed)),
        comparisons=comparisons,
        counted=counted,
        repeated=repeated,
        ties={id: one.tied for id, one in answers.items() if one.tied},
        retained=retention.retained(material, spec.seed),
        economies=economies,
        decision=decision,
        confidence=_confidence(decision, accuracies, limits.broken, economies[0], spec),
        limits=limits,
        prices=material.prices,
        previous=material.previous,
        clusters_by=clusters_by(answers[compared[0].id], spec.group_key),
        step_prices=step_prices(study, material),
        judge_prices=judge_prices(material),
        generator=material.generator,
        judge=material.judge,
        answer_judge=material.answer_judge,
    )


def clusters_by(subject: Answers, group_key: str) -> str:
    """What the evaluator took together: the group, else the first document that a probe names; nothing where each stands for itself."""
    each_alone = all(cluster == alone(id) for id, cluster in zip(subject.ids, subject.clusters, strict=True))
    return group_key or ("" if each_alone else "document")


def differences(
    answers: Mapping[str, Answers], seed: int
) -> Iterator[tuple[str, str, evaluator_pb2.Difference]]:
    """Of everyone against the baselines, by kind, paired by probe."""
    ids = list(answers)
    for baseline in (id for id in ids if id in BASELINES):
        for candidate in ids[ids.index(baseline) + 1 :]:
            for kind, mean in by_kind(answers[candidate], answers[baseline], seed):
                low, high = mean.interval
                yield (
                    baseline,
                    candidate,
                    evaluator_pb2.Difference(
                        kind=kind,
                        value=mean.value,
                        ci95_low=low,
                        ci95_high=high,
                        n=mean.n,
                        cluster_count=mean.cluster_count,
                    ),
                )


def _covered(material: Material, group_key: str, excluded: Mapping[str, set[int]]) -> set[str] | None:
    """Probes answered word for word by what was inferred for the study's own model and trained on, by the widest
    augmentation there is."""
    for step in ("augment", "augment local", "augment global"):
        if step in material.rows:
            trained_on = left(material.rows[step], excluded[step])
            return coverage.covered_probes(material.probe_rows, trained_on, group_key)
    return None


def _break_evens(
    id: str, bills: Mapping[str, costs.MethodCost], economies: Sequence[costs.Economy]
) -> dict[str, costs.BreakEven]:
    if id == "icl" or "icl" not in bills:
        return {}
    return {economy.unit: costs.break_even(id, economy) for economy in economies}


def _support(kinds: Sequence[evaluator_pb2.KindResult]) -> Support | None:
    named = [kind for kind in kinds if kind.HasField("supported_count")]
    n = sum(kind.supported_count for kind in named)
    if not n:
        return Support(0, 0.0) if named else None
    return Support(n, sum(kind.supported_value * kind.supported_count for kind in named) / n)


def _confidence(
    decision: Decision,
    accuracies: Mapping[str, ClusteredMean],
    broken: Mapping[str, str],
    economy: costs.Economy,
    spec: studies_pb2.StudySpec,
) -> float:
    if not decision.method:
        return 0.0
    allowed = {id: accuracies[id] for id in usable(list(accuracies)) if id not in broken}
    totals = {id: economy.total(id) for id in allowed}
    return stability(allowed, totals, spec.tolerance, decision.method, spec.seed)
