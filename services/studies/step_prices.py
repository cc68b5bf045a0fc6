"""What each step of a study took in money. Pure."""

from decimal import Decimal

from ingrain.v1 import evaluator_pb2, studies_pb2
from servicekit.prices import parts_of, price_of, price_of_parts
from services.studies.material import Material
from services.studies.plan import GENERATOR, evaluate_id, plan, train_id


def step_prices(study: studies_pb2.Study, material: Material) -> dict[str, Decimal]:
    """By step, by the models and the device that did it; what has no price is left out. A step that was there already has
    the price of what it took then."""
    planned = {step.id: step for step in plan(study.spec)}
    evaluations = _evaluations(material)
    devices = _devices(material) | {id: one.environment.device for id, one in evaluations.items()}
    engine = material.evaluations[material.participants[0].id][0].environment.device
    found = {}
    for step in study.steps:
        source = planned[step.id].inputs.get("model")
        if source is None:  # rows were left out, by nobody whose time is paid
            continue
        role = planned[source].inputs["model"] if source in planned else source
        model = material.generator if role == GENERATOR else material.models[role]
        device = devices.get(step.id, engine)
        asked = evaluations.get(step.id)
        if asked is not None and asked.HasField("judge_cost"):
            parts = parts_of(step.cost, model or material.model, asked.judge_cost, material.answer_judge)
        else:
            parts = material.parts_of(step.id, step.cost, model or material.model)
        price = price_of_parts(parts, device, material.prices)
        if price is not None:
            found[step.id] = price
    return found


def judge_prices(material: Material) -> dict[str, Decimal]:
    """By step, what the judge took of a derivation; a part of the step's price. What has no price is left out."""
    engine = material.evaluations[material.participants[0].id][0].environment.device
    found = {}
    for step, dataset in material.derived.items():
        if material.judge is not None and dataset.provenance.HasField("judge_cost"):
            price = price_of(dataset.provenance.judge_cost, material.judge, engine, material.prices)
            if price is not None:
                found[step] = price
    return found


def _evaluations(material: Material) -> dict[str, evaluator_pb2.Evaluation]:
    """By step."""
    made = dict(material.retained)
    for participant in material.participants:
        asked = zip(participant.seeds, material.evaluations[participant.id], strict=True)
        made |= {evaluate_id(participant, seed): evaluation for seed, evaluation in asked}
    return made


def _devices(material: Material) -> dict[str, str]:
    """Of trainings, by step."""
    devices = {}
    for participant in material.participants:
        for seed, model in zip(participant.seeds, material.weights[participant.id], strict=True):
            if step := train_id(participant, seed):
                devices[step] = model.summary.environment.device
    return devices
