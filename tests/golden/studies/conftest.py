"""A study's material as a real run leaves it: four worlds, four kinds, five methods."""

import random

import numpy as np
import pytest

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from servicekit.clusters import share
from services.studies.analyse import Material
from services.studies.plan import METHODS, normalised, plan
from services.studies.statistics import answers

WORLDS, FACTS = 6, 14
PROJECT = "projects/demo"
KINDS = {"forward": 0.5, "reversal": 0.5, "syllogism": 1 / 6, "list": None}
# The chance that a probe of the kind is answered right.
SKILL = {
    "base": (0.5, 0.48, 0.15, 0.02),
    "icl": (0.97, 0.90, 0.88, 0.71),
    "finetune": (0.99, 0.47, 0.32, 0.12),
    "augmented_finetune": (0.99, 0.93, 0.86, 0.62),
    "shuffled_finetune": (0.98, 0.50, 0.30, 0.10),
}
PARAMETERS, LAYERS, HIDDEN, CONTEXT = 3_214_208, 6, 192, 310


def cost(**values: float) -> common_pb2.Cost:
    return common_pb2.Cost(**values)


def environment(**values: object) -> common_pb2.Environment:
    made = common_pb2.Environment(device="cpu", dtype="bfloat16", **values)
    made.startup_duration.FromMilliseconds(4200)
    return made


def probe_rows() -> list[dict]:
    rows = []
    for world in range(WORLDS):
        for fact in range(FACTS):
            name, other, metadata = f"fen{world}k{fact}", f"tor{world}m{fact}", {"world": f"w{world}"}
            for kind in ("forward", "reversal", "syllogism"):
                left, right = (name, other) if kind == "forward" else (other, name)
                choices = [f"than {right}.", f"than gol{world}."]
                rows.append(
                    {
                        "id": f"w{world}-{kind}-{fact}",
                        "kind": kind,
                        "prompt": f"{left} are brighter" if kind == "forward" else f"{left} are dimmer",
                        "choices": choices,
                        "answer": choices[0],
                        "metadata": metadata,
                    }
                )
        rows.append(
            {
                "id": f"w{world}-list",
                "kind": "list",
                "question": "Which?",
                "answers": ["a", "b"],
                "metadata": metadata,
            }
        )
    return rows


def result_rows(method: str, probes: list[dict]) -> list[dict]:
    rng = random.Random(method)
    skill = dict(zip(KINDS, SKILL[method], strict=True))
    return [
        {
            "id": probe["id"],
            "kind": probe["kind"],
            "cluster": probe["metadata"]["world"],
            "value": float(rng.random() < skill[probe["kind"]]),
        }
        for probe in probes
    ]


def evaluation(method: str, rows: list[dict]) -> evaluator_pb2.Evaluation:
    made = evaluator_pb2.Evaluation(
        name=f"{PROJECT}/evaluations/{method.replace('_', '-')}-0123456789abcdef",
        probe_count=len(rows),
        environment=environment(
            backend="ray serve + transformers",
            process_count=1,
            versions={"ray": "2.60.0", "torch": "2.13.0", "transformers": "5.23.0"},
        ),
    )
    for kind, chance in KINDS.items():
        of_kind = answers([row for row in rows if row["kind"] == kind])
        found = share(of_kind.values, of_kind.clusters)
        metric = "f1" if kind == "list" else "acc"
        made.kinds.add(
            kind=kind,
            metric=metric,
            value=found.value,
            n=found.n,
            stderr=found.stderr,
            ci95_low=found.low,
            ci95_high=found.high,
            metrics={metric: found.value},
            **({} if chance is None else {"chance": chance}),
        )
    n = len(rows)
    looked_at = CONTEXT if method == "icl" else 0
    made.cost.CopyFrom(
        cost(
            prompt_token_count=17 * n,
            cached_token_count=looked_at * n,
            generated_token_count=40,
            flops=n * (2.0 * PARAMETERS * 17 + 4.0 * LAYERS * HIDDEN * 17 * (looked_at + 9)),
            wall_seconds=9.5,
            compute_seconds=7.25,
        )
    )
    return made


def trained_model(method: str, order: int) -> trainer_pb2.Model:
    made = base_model()
    made.name = f"{PROJECT}/models/{method.replace('_', '-')}-0123456789abcdef"
    made.base_model = base_model().name
    made.summary.step_count = 600
    made.summary.cost.CopyFrom(
        cost(
            trained_token_count=560_000 + order,
            flops=6.0 * PARAMETERS * 560_000,
            wall_seconds=78.0,
            compute_seconds=72.5,
        )
    )
    made.summary.environment.CopyFrom(
        environment(
            backend="ray train + deepspeed",
            process_count=2,
            zero_stage=2,
            versions={"deepspeed": "0.19.8", "ray": "2.60.0", "torch": "2.13.0"},
        )
    )
    return made


def base_model() -> trainer_pb2.Model:
    return trainer_pb2.Model(
        name=f"{PROJECT}/models/small",
        source="bundled://small",
        architecture="LlamaForCausalLM",
        parameter_count=PARAMETERS,
        layer_count=LAYERS,
        hidden_size=HIDDEN,
        context_window=2048,
        domain="invented-worlds",
        sha256="c" * 64,
    )


def derived(name: str) -> datasets_pb2.Dataset:
    made = datasets_pb2.Dataset(
        name=f"{PROJECT}/datasets/{name}-0123456789abcdef", row_count=1210, sha256="d" * 64
    )
    made.provenance.prompt_set = "default"
    made.provenance.kept_counts.update(
        {"rephrase": 310, "reverse": 402, "infer": 210, "link": 188, "about": 100}
    )
    made.provenance.dropped_counts.update({"duplicate": 640, "copy": 55, "unparsable": 21})
    made.provenance.cost.CopyFrom(
        cost(
            prompt_token_count=41_000,
            cached_token_count=310_000,
            generated_token_count=52_000,
            flops=2.0 * PARAMETERS * 93_000,
            wall_seconds=61.0,
            compute_seconds=55.0,
        )
    )
    return made


@pytest.fixture
def material() -> Material:
    probes = probe_rows()
    results = {method: result_rows(method, probes) for method in METHODS}
    evaluations = {method: evaluation(method, results[method]) for method in METHODS}
    models = {method: base_model() for method in ("base", "icl")}
    models |= {method: trained_model(method, i) for i, method in enumerate(METHODS[2:])}
    # Two thirds of the reversals were written down.
    augmented = [
        {"text": f"{p['prompt']} {p['answer']}", "metadata": p["metadata"]}
        for i, p in enumerate(p for p in probes if p["kind"] == "reversal")
        if i % 3
    ]
    differences = []
    for baseline in ("icl", "finetune"):
        for kind in KINDS:
            values = {m: np.mean([r["value"] for r in results[m] if r["kind"] == kind]) for m in METHODS}
            gap = float(values["augmented_finetune"] - values[baseline])
            difference = evaluator_pb2.Difference(
                kind=kind, value=gap, ci95_low=gap - 0.06, ci95_high=gap + 0.05, n=84, cluster_count=WORLDS
            )
            differences.append((baseline, "augmented_finetune", difference))
    return Material(
        documents=datasets_pb2.Dataset(name=f"{PROJECT}/datasets/documents", sha256="a" * 64, row_count=336),
        probes=datasets_pb2.Dataset(
            name=f"{PROJECT}/datasets/probes", sha256="b" * 64, row_count=len(probes)
        ),
        model=base_model(),
        contexts={f"w{world}": CONTEXT + world for world in range(WORLDS)},
        context_costs={
            f"w{world}": cost(flops=2.2e9, prompt_token_count=CONTEXT, compute_seconds=0.4)
            for world in range(WORLDS)
        },
        probe_rows=probes,
        models=models,
        evaluations=evaluations,
        answers={method: answers(rows) for method, rows in results.items()},
        derived={"augment": derived("augmented"), "augment shuffled": derived("shuffled")},
        augmented_rows=augmented,
        differences=differences,
    )


@pytest.fixture
def study() -> studies_pb2.Study:
    spec = studies_pb2.StudySpec(
        dataset=f"{PROJECT}/datasets/documents",
        probes=f"{PROJECT}/datasets/probes",
        model=f"{PROJECT}/models/small",
        methods=METHODS,
        group_key="world",
        distinct_key="fact",
        seed=1,
    )
    spec.training.max_steps = 600
    made = studies_pb2.Study(
        name=f"{PROJECT}/studies/worlds-1", display_name="Invented worlds, seed 1", spec=normalised(spec)
    )
    made.create_time.FromJsonString("2026-01-02T03:04:05Z")
    made.end_time.FromJsonString("2026-01-02T03:10:05Z")
    steps = plan(made.spec)
    for i, step in enumerate(steps):
        made.steps.add(
            id=step.id,
            status=studies_pb2.StudyStep.REUSED if step.id == "evaluate base" else studies_pb2.StudyStep.DONE,
            resource=f"{PROJECT}/{step.collection}/{step.prefix}-0123456789abcdef",
            fingerprint=f"{i}" * 64,
            cost=cost(wall_seconds=2.5 * i, flops=1e12 * i),
        )
    return made
