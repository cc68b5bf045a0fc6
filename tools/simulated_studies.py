"""Studies whose truth is known: answers are drawn, everything after them is the platform's own code.

A method has a true share of right answers per kind. Probes share difficulty with their world (with and without
regard to the method) and between methods, so that answers are clustered and paired as measured ones are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean
from typing import Any

import numpy as np

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from services.evaluator.summary import summarize
from services.studies.material import Material
from services.studies.methods import METHODS, participants
from services.studies.spec import normalised
from services.studies.statistics import answers

PROJECT = "projects/simulated"
KINDS = ("forward", "reversal", "syllogism", "list")
LIST_MEMBERS = 3
# Shares of the variance of a probe's latent score.
WORLD, WORLD_AND_METHOD, PROBE = 0.08, 0.04, 0.30
PARAMETERS, LAYERS, HIDDEN, CONTEXT, PROMPT = 3_214_208, 6, 192, 310, 17


@dataclass(frozen=True)
class Scenario:
    """`truth`: true share right per method, a number per kind. `sizes`: probes per world and kind."""

    title: str
    truth: Mapping[str, Sequence[float]]
    worlds: int
    sizes: Sequence[int]
    question_count: int
    expected: str  # the cheapest adequate method
    powered: bool = True  # enough probes that the rule can be expected to find it
    tolerance: float = 0.02

    def pooled(self, method: str, counted: Sequence[str]) -> float:
        return mean(p for kind, p in zip(KINDS, self.truth[method], strict=True) if kind in counted)


def probes_of(scenario: Scenario) -> list[dict[str, Any]]:
    """Half of the worlds are larger by a probe and half smaller where that can be; a world with 0 of a kind has none."""
    rows = []
    for world in range(scenario.worlds):
        for kind, size in zip(KINDS, scenario.sizes, strict=True):
            uneven = size + (1 if world % 2 else -1) if size > 1 else size
            for i in range(uneven):
                id = f"w{world}-{kind}-{i}"
                shape = {"question": id, "answers": ["a", "b", "c"]}
                if kind != "list":
                    shape = {"prompt": id, "choices": ["yes", "no"], "answer": "yes"}
                rows.append({"id": id, "kind": kind, "metadata": {"world": f"w{world}"}, **shape})
    return rows


def draw(
    scenario: Scenario, probes: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Result rows by method, as the evaluator stores them."""
    generator = np.random.default_rng(seed)
    world_P = np.array([int(probe["metadata"]["world"][1:]) for probe in probes])
    kind_P = np.array([KINDS.index(probe["kind"]) for probe in probes])
    of_world_P = generator.normal(size=scenario.worlds)[world_P] * WORLD**0.5
    of_probe_P = generator.normal(size=len(probes)) * PROBE**0.5
    rest = (1 - WORLD - WORLD_AND_METHOD - PROBE) ** 0.5
    results = {}
    for method, truth in scenario.truth.items():
        own_P = generator.normal(size=scenario.worlds)[world_P] * WORLD_AND_METHOD**0.5
        limit_P = np.array([NormalDist().inv_cdf(p) for p in truth])[kind_P]
        shared_P = of_world_P + of_probe_P + own_P
        tries_PM = shared_P[:, None] + rest * generator.normal(size=(len(probes), LIST_MEMBERS))
        hits_PM = tries_PM < limit_P[:, None]
        value_P = np.where(kind_P == KINDS.index("list"), hits_PM.mean(1), hits_PM[:, 0])
        results[method] = [_row(probe, float(value)) for probe, value in zip(probes, value_P, strict=True)]
    return results


def draw_kind(
    generator: np.random.Generator, clusters: int, size: int, uneven: bool, truth: float, shared: float
) -> tuple[np.ndarray, list[str]]:
    """Answers to one kind of probe and their clusters; `shared`: of the variance of the latent score, by cluster."""
    sizes = generator.integers(size // 2, size + size // 2 + 1, clusters) if uneven else [size] * clusters
    cluster_P = np.repeat(np.arange(clusters), sizes)
    score_P = shared**0.5 * generator.normal(size=clusters)[cluster_P]
    score_P += (1 - shared) ** 0.5 * generator.normal(size=len(cluster_P))
    return (score_P < NormalDist().inv_cdf(truth)).astype(float), [str(cluster) for cluster in cluster_P]


def _row(probe: Mapping[str, Any], value: float) -> dict[str, Any]:
    row = {"id": probe["id"], "kind": probe["kind"], "cluster": probe["metadata"]["world"], "value": value}
    if probe["kind"] == "list":
        return row | {"metric": "f1", "metrics": {"f1": value}}
    choice = {"chance": 0.5, "tie": False, "scores": [-1.0, -2.0]}
    return row | choice | {"metric": "acc", "metrics": {"acc": value, "confidence": 0.5}}


def study_of(scenario: Scenario, seed: int) -> tuple[studies_pb2.Study, Material]:
    """As a finished run leaves them: evaluations summed up and compared by the evaluator's own functions."""
    probes = probes_of(scenario)
    results = draw(scenario, probes, seed)
    methods = [method for method in METHODS if method in scenario.truth]
    spec = studies_pb2.StudySpec(
        methods=methods,
        group_key="world",
        seed=seed,
        question_count=scenario.question_count,
        tolerance=scenario.tolerance,
    )
    study = studies_pb2.Study(name=f"{PROJECT}/studies/s{seed}", spec=normalised(spec))
    derived = datasets_pb2.Dataset()
    derived.provenance.cost.flops = 0.05 * _training().summary.cost.flops
    worlds = [f"w{world}" for world in range(scenario.worlds)]
    return study, Material(
        documents=datasets_pb2.Dataset(row_count=100),
        probes=datasets_pb2.Dataset(row_count=len(probes)),
        probe_rows=probes,
        participants=participants(study.spec),
        models={"model": _model()},
        contexts=dict.fromkeys(worlds, CONTEXT),
        weights={method: [_training() if "finetune" in method else _model()] for method in methods},
        evaluations={method: [_evaluation(method, results[method])] for method in methods},
        answers={method: [answers(results[method])] for method in methods},
        derived={"augment": derived},
    )


def _evaluation(method: str, rows: Sequence[dict[str, Any]]) -> evaluator_pb2.Evaluation:
    looked_at = CONTEXT if method == "icl" else 0
    flops = 2.0 * PARAMETERS * PROMPT + 4.0 * LAYERS * HIDDEN * PROMPT * looked_at
    cost = common_pb2.Cost(prompt_token_count=PROMPT * len(rows), flops=flops * len(rows))
    return evaluator_pb2.Evaluation(kinds=summarize(rows), probe_count=len(rows), cost=cost)


def _model() -> trainer_pb2.Model:
    return trainer_pb2.Model(parameter_count=PARAMETERS, layer_count=LAYERS, hidden_size=HIDDEN)


def _training() -> trainer_pb2.Model:
    model = _model()
    model.summary.step_count = 300
    model.summary.cost.flops = 6.0 * PARAMETERS * 560_000
    return model
