"""What weights keep of what nobody trained them on. Pure."""

from collections.abc import Sequence
from statistics import mean

from services.studies.findings import Kept, Retained
from services.studies.material import Material
from services.studies.plan import retain_id, suffix
from services.studies.statistics import Answers, mean_over_seeds, pooled, pooled_difference


def retained(material: Material, seed: int) -> list[Retained]:
    """A row for each model before its trainings and for each training, in the order of the participants."""
    rows: dict[str, Retained] = {}
    for participant in material.participants:
        if not participant.method.trained_on or participant.method.control:
            continue
        before = "base" + suffix(participant)
        for weights, count in ((before, 1), (participant.weights, len(participant.seeds))):
            if weights not in rows:
                row = Retained(
                    weights,
                    _bits_per_byte(material, weights, count),
                    _kept(material, "probes", weights, count, before, seed),
                    _kept(material, "context", weights, count, before, seed),
                )
                if row != Retained(weights, None, None, None):
                    rows[weights] = row
    return list(rows.values())


def _bits_per_byte(material: Material, weights: str, count: int) -> float | None:
    """Mean over kinds of text and over seeds."""
    ids = [retain_id("text", weights, number) for number in range(count)]
    values = [kind.value for id in ids if id in material.retained for kind in material.retained[id].kinds]
    return mean(values) if values else None


def _kept(material: Material, what: str, weights: str, count: int, before: str, seed: int) -> Kept | None:
    answers = _answers(material, [retain_id(what, weights, number) for number in range(count)])
    if answers is None:
        return None
    base = _answers(material, [retain_id(what, before)])
    lost = None if weights == before or base is None else pooled_difference(answers, base, seed)
    return Kept(pooled(answers, seed), lost)


def _answers(material: Material, ids: Sequence[str]) -> Answers | None:
    found = [material.retained_answers[id] for id in ids if id in material.retained_answers]
    return mean_over_seeds(found) if found else None
