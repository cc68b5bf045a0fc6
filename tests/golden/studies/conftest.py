"""A study's material as a real run leaves it: four worlds, four kinds, five methods."""

import random

import pytest

from ingrain.v1 import (
    common_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    studies_pb2,
    trainer_pb2,
)
from servicekit.clusters import share
from services.studies.material import Material
from services.studies.methods import participants
from services.studies.plan import plan
from services.studies.spec import normalised
from services.studies.statistics import Answers, answers

WORLDS, FACTS = 6, 14
METHODS = ("base", "icl", "finetune", "augmented_finetune", "shuffled_finetune")
PROJECT = "projects/demo"
KINDS = {"forward": 0.5, "reversal": 0.5, "syllogism": 1 / 6, "list": None}
# The chance that a probe of the kind is answered right.
SKILL = {
    "base": (0.5, 0.48, 0.15, 0.02),
    "icl": (0.97, 0.90, 0.88, 0.71),
    "finetune": (0.99, 0.47, 0.32, 0.12),
    "augmented_finetune": (0.99, 0.93, 0.86, 0.62),
    "shuffled_finetune": (0.98, 0.50, 0.30, 0.10),
    "icl_subset": (0.62, 0.60, 0.33, 0.20),
    "rag": (0.97, 0.91, 0.70, 0.45),
    "icl@large": (0.99, 0.97, 0.95, 0.90),
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


def result_rows(method: str, probes: list[dict], seed: int = 0) -> list[dict]:
    rng = random.Random(f"{method}{seed or ''}")
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
        other = {} if kind == "list" else {"acc_token_norm": 0.9 * found.value, "ece": 0.07}
        made.kinds.add(
            kind=kind,
            metric=metric,
            value=found.value,
            n=found.n,
            stderr=found.stderr,
            ci95_low=found.low,
            ci95_high=found.high,
            metrics={metric: found.value, **other},
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


def contexts(model: str) -> dict[str, inference_pb2.Context]:
    read = cost(flops=2.2e9, prompt_token_count=CONTEXT, compute_seconds=0.4)
    return {
        f"w{world}": inference_pb2.Context(name=f"c{world}", model=model, token_count=CONTEXT, cost=read)
        for world in range(WORLDS)
    }


def augmented_rows(probes: list[dict]) -> list[dict]:
    """Two thirds of the reversals were written down."""
    return [
        {"text": f"{p['prompt']} {p['answer']}", "metadata": p["metadata"]}
        for i, p in enumerate(p for p in probes if p["kind"] == "reversal")
        if i % 3
    ]


def documents_and_probes(count: int) -> dict[str, datasets_pb2.Dataset]:
    return {
        "documents": datasets_pb2.Dataset(
            name=f"{PROJECT}/datasets/documents", sha256="a" * 64, row_count=336
        ),
        "probes": datasets_pb2.Dataset(name=f"{PROJECT}/datasets/probes", sha256="b" * 64, row_count=count),
    }


@pytest.fixture
def material(study: studies_pb2.Study) -> Material:
    probes = probe_rows()
    results = {method: result_rows(method, probes) for method in METHODS}
    weights = {method: [base_model()] for method in ("base", "icl")}
    weights |= {method: [trained_model(method, i)] for i, method in enumerate(METHODS[2:])}
    return Material(
        **documents_and_probes(len(probes)),
        probe_rows=probes,
        participants=participants(study.spec),
        models={"model": base_model()},
        contexts={f"w{world}": CONTEXT + world for world in range(WORLDS)},
        weights=weights,
        evaluations={method: [evaluation(method, results[method])] for method in METHODS},
        answers={method: [answers(rows)] for method, rows in results.items()},
        derived={"augment": derived("augmented"), "augment shuffled": derived("shuffled")},
        rows={"augment": augmented_rows(probes)},
        contexts_read={"icl": contexts(base_model().name)},
    )


@pytest.fixture
def study() -> studies_pb2.Study:
    return study_of("worlds-1", "Invented worlds, seed 1", methods=METHODS)


def study_of(id: str, title: str, **values: object) -> studies_pb2.Study:
    spec = studies_pb2.StudySpec(
        dataset=f"{PROJECT}/datasets/documents",
        probes=f"{PROJECT}/datasets/probes",
        model=f"{PROJECT}/models/small",
        group_key="world",
        distinct_key="fact",
        seed=1,
        **values,
    )
    spec.training.max_steps = 600
    made = studies_pb2.Study(name=f"{PROJECT}/studies/{id}", display_name=title, spec=normalised(spec))
    made.create_time.FromJsonString("2026-01-02T03:04:05Z")
    made.end_time.FromJsonString("2026-01-02T03:10:05Z")
    for i, step in enumerate(plan(made.spec)):
        made.steps.add(
            id=step.id,
            status=studies_pb2.StudyStep.REUSED if step.id == "evaluate base" else studies_pb2.StudyStep.DONE,
            resource=f"{PROJECT}/{step.collection}/{step.prefix}-0123456789abcdef",
            fingerprint=f"{i % 10}" * 64,
            cost=cost(
                wall_seconds=2.5 * i, compute_seconds=2.0 * i, flops=1e12 * i, prompt_token_count=1000 * i
            ),
        )
    return made


WIDE = ("base", "icl", "icl_subset", "rag", "finetune", "augmented_finetune")


@pytest.fixture
def wide_study() -> studies_pb2.Study:
    """With everything that a study can have: two seeds, a model of another server, limits, retention, an earlier verdict."""
    return study_of(
        "wide",
        "All at once",
        methods=WIDE,
        contenders=[studies_pb2.Contender(model=f"{PROJECT}/models/large")],
        training_seeds=[1, 2],
        requirements=studies_pb2.Requirements(
            questions_per_month=50_000,
            months=6,
            budget=common_pb2.Money(currency_code="EUR", amount="40"),
            latency_seconds=1.0,
        ),
        retention=studies_pb2.Retention(
            text=f"{PROJECT}/datasets/text", probes=f"{PROJECT}/datasets/general"
        ),
        previous_study=f"{PROJECT}/studies/worlds-1",
    )


@pytest.fixture
def wide(wide_study: studies_pb2.Study) -> Material:
    probes = probe_rows()
    large = trainer_pb2.Model(name=f"{PROJECT}/models/large", sha256="e" * 64, context_window=128_000)
    large.endpoint.base_url, large.endpoint.model_id = "https://host/v1", "large-2"
    compared = participants(wide_study.spec)
    weights, evaluations, of_seeds = {}, {}, {}
    for order, participant in enumerate(compared):
        rows = [result_rows(participant.id, probes, seed) for seed in range(len(participant.seeds))]
        evaluations[participant.id] = [evaluation(participant.id, one) for one in rows]
        of_seeds[participant.id] = [answers(one) for one in rows]
        weights[participant.id] = [
            trained_model(f"{participant.id}-{seed}", order)
            if participant.method.trained_on
            else base_model()
            for seed in range(len(rows))
        ]
    far = evaluations["icl@large"][0]
    weights["icl@large"] = [large]
    far.cost.flops, far.cost.prompt_token_count, far.cost.cached_token_count = 0, 90_000, 20_000
    for kind in evaluations["icl_subset"][0].kinds:
        kind.supported_count, kind.supported_value = kind.n // 4, 0.9
    text = {"base": 1.1, "finetune": 1.3, "augmented_finetune": 1.25}
    kept = {"base": 0.8, "finetune": 0.72, "augmented_finetune": 0.76}
    retained, retained_answers = {}, {}
    for weight, bits in text.items():
        for suffix in ("", " seed 2") if weight != "base" else ("",):
            scored = evaluator_pb2.Evaluation(probe_count=20)
            scored.kinds.add(kind="text", metric="bits_per_byte", value=bits, n=20)
            retained[f"retain text of {weight}{suffix}"] = scored
            retained[f"retain probes of {weight}{suffix}"] = evaluator_pb2.Evaluation(probe_count=50)
            retained_answers[f"retain probes of {weight}{suffix}"] = general(kept[weight], weight + suffix)
    prices = studies_pb2.PriceTable(
        effective_date="2026-01-01",
        currency_code="EUR",
        device_hours={"*": "0.50"},
        tokens={"large-2": studies_pb2.TokenPrice(prompt="0.40", cached="0.10", generated="1.60")},
        source="an example",
    )
    return Material(
        **documents_and_probes(len(probes)),
        probe_rows=probes,
        participants=compared,
        models={"model": base_model(), "model large": large},
        contexts={f"w{world}": CONTEXT + world for world in range(WORLDS)},
        weights=weights,
        evaluations=evaluations,
        answers=of_seeds,
        derived={"augment": derived("augmented")},
        rows={"augment": augmented_rows(probes)},
        retained=retained,
        retained_answers=retained_answers,
        contexts_read={"icl": contexts(base_model().name)},
        latencies={p.id: [0.02 * (i + 1) for i in range(20)] for p in compared}
        | {"icl@large": [0.6 + 0.05 * i for i in range(20)]},
        prices=prices,
        previous={
            "study": f"{PROJECT}/studies/worlds-1",
            "end_time": "2026-01-01T00:00:00Z",
            "inputs": {"documents": {"sha256": "f" * 64}, "probes": {"sha256": "b" * 64}},
            "recommendation": {"method": "icl", "reason": "Use icl."},
            "methods": {"icl": {"accuracy": 0.91}, "finetune": {"accuracy": 0.6}},
        },
    )


def general(share_right: float, seed: str) -> Answers:
    rng = random.Random(seed)
    rows = [
        {"id": f"g{i}", "kind": "general", "cluster": f"g{i}", "value": float(rng.random() < share_right)}
        for i in range(50)
    ]
    return answers(rows)
