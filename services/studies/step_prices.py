"""What each step of a study took in money. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ingrain.v1 import studies_pb2
from servicekit.prices import price_of, price_of_parts
from services.studies.material import Material
from services.studies.plan import GENERATOR, evaluate_id, plan, train_id


def step_prices(study: studies_pb2.Study, material: Material) -> dict[str, Decimal]:
    """By step, by the models and the device that did it; what has no price is left out. A step that was there already has
    the price of what it took then."""
    planned = {step.id: step for step in plan(study.spec)}
    devices = _devices(material)
    engine = material.evaluations[material.participants[0].id][0].environment.device
    found = {}
    for step in study.steps:
        source = planned[step.id].inputs.get("model")
        if source is None:  # rows were left out, by nobody whose time is paid
            continue
        role = planned[source].inputs["model"] if source in planned else source
        model = material.generator if role == GENERATOR else material.models[role]
        device = devices.get(step.id, engine)
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


def _devices(material: Material) -> Mapping[str, str]:
    """Of the steps that say where they ran."""
    made: dict[str, Any] = dict(material.retained)
    devices = {}
    for participant in material.participants:
        evaluations, weights = material.evaluations[participant.id], material.weights[participant.id]
        for seed, evaluation, model in zip(participant.seeds, evaluations, weights, strict=True):
            made[evaluate_id(participant, seed)] = evaluation
            if step := train_id(participant, seed):
                devices[step] = model.summary.environment.device
    return devices | {id: evaluation.environment.device for id, evaluation in made.items()}
