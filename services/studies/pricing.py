"""A participant's measured work -> its bill. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from ingrain.v1 import common_pb2, evaluator_pb2, inference_pb2, studies_pb2, trainer_pb2
from servicekit.prices import price_of, price_of_parts
from services.studies import coverage
from services.studies.costs import Amount, Line, MethodCost, amount, cold, mean, reading, total
from services.studies.material import Material
from services.studies.methods import Participant
from services.studies.plan import augment_id


def method_cost(participant: Participant, material: Material, spec: studies_pb2.StudySpec) -> MethodCost:
    """Building: what augmentation, training (the mean of one) and reading the documents took. A question: the
    evaluations' mean."""
    base = material.models[participant.model]
    evaluations = material.evaluations[participant.id]
    device = _engine(evaluations[0])
    lines = []
    if step := augment_id(participant):
        cost = material.derived[step].provenance.cost
        parts = material.parts_of(step, cost, material.generator_of(participant))
        price = price_of_parts(parts, device, material.prices)
        lines.append(Line("augmentation", amount(cost), price))
    if participant.method.trained_on:
        trained = material.weights[participant.id]
        where = trained[0].summary.environment.device
        took = mean([amount(model.summary.cost) for model in trained])
        lines.append(_line("training", took, base, where, material))
    asked = mean([amount(e.cost).times(1 / e.probe_count) for e in evaluations])
    question = _line("question", asked, base, device, material)
    if participant.method.reads not in ("all", "subset"):
        return MethodCost(tuple(lines), question, elsewhere=base.HasField("endpoint"))
    if base.HasField("endpoint"):  # which keeps no cache of ours: reading is in each question
        again = Line("question", _uncached(asked))
        priced = Line("question", again.amount, price_of(again.amount, base, device, material.prices))
        return MethodCost(tuple(lines), question, priced, elsewhere=True)
    groups = coverage.groups(material.probe_rows, spec.group_key)
    share = spec.subset.share if participant.method.reads == "subset" else 1.0
    read = _read(participant, material, share)
    lines.append(_line("reading the documents", _timed(read, asked), base, device, material))
    uncached = _line("question", cold(asked, read, groups), base, device, material)
    if material.prices.currency_code and not uncached.amount.compute_seconds:
        uncached = Line("question", uncached.amount)
    return MethodCost(tuple(lines), question, uncached)


def _read(participant: Participant, material: Material, share: float) -> Mapping[str, Amount]:
    """What reading each group's documents took: measured where a context is there, else reckoned from its tokens."""
    contexts = material.contexts_read.get(participant.id, {})
    shape = material.models[participant.model]
    found = {}
    for group, token_count in material.contexts.items():
        context = contexts.get(group, inference_pb2.Context())
        if context.cost.flops:
            found[group] = amount(context.cost)
        else:
            found[group] = reading(shape, context.token_count or share * token_count)
    return found


def _line(what: str, work: Amount, model: trainer_pb2.Model, device: str, material: Material) -> Line:
    return Line(what, work, price_of(work, model, device, material.prices))


def _engine(evaluation: evaluator_pb2.Evaluation) -> str:
    environment: common_pb2.Environment = evaluation.environment
    return environment.device


def _uncached(asked: Amount) -> Amount:
    tokens = asked.prompt_token_count + asked.cached_token_count
    return Amount(tokens, 0.0, asked.generated_token_count, wall_seconds=asked.wall_seconds)


def _timed(read: Mapping[str, Amount], asked: Amount) -> Amount:
    """Of all groups together. Where reading was reckoned and not measured, its operations take as long as those of the
    questions do; that is too long rather than too short, for questions are small batches."""
    each = asked.compute_seconds / asked.flops if asked.flops else 0.0
    return total(
        one if one.compute_seconds else replace(one, compute_seconds=each * one.flops)
        for one in read.values()
    )


def thousand(price: Decimal | None) -> Decimal | None:
    return None if price is None else 1000 * price
