"""What is asked of the platform: by the SDK, with a key, from the caller's address. What comes out is told so that it can be compared."""

import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain import Client, worlds
from ingrain.sync import Operation

STUDY_S = 900.0
STEPS = 120  # of a training whose link is cut
SAVE_STEPS = 20


@dataclass(frozen=True)
class Work:
    """One kind of operation. `begin` gives the operation, `outcome` what it made, equal wherever nothing was lost or doubled."""

    begin: Callable[[Client], Operation]
    outcome: Callable[[Client, Any], dict[str, Any]]


def study(client: Client, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Two training workers, ZeRO 2; the winner is asked. `look` is asked until it has seen the training's workers."""
    begun = time.monotonic()
    world = worlds.suite(seed=7, reversal_worlds=2, facts=6, repeats=1, syllogism_worlds=0, catalogues=1)
    documents, probes, model = prepared(client, world)
    training = {
        "max_steps": 30,
        "num_workers": 2,
        "zero_stage": 2,
        "per_device_train_batch_size": 2,
        "max_length": 256,
    }
    operation = client.studies.create(
        documents,
        probes,
        model,
        methods=["base", "icl", "finetune"],
        training=training,
        group_key="world",
        distinct_key="fact",
    )
    seen: dict[str, Any] = {}
    deadline = time.monotonic() + STUDY_S
    while not operation.refresh().done and time.monotonic() < deadline:
        if not seen.get("connections"):
            seen = look() or seen
        time.sleep(0.5)
    made = operation.result(1.0)
    question = next(probe["question"] for probe in world.probes if probe["kind"] == "list")
    return {
        "documents": len(world.documents),
        "probes": len(world.probes),
        "seconds": round(time.monotonic() - begun, 1),
        "training": seen,
        "recommendation": made.recommendation.method,
        "question": question,
        "answer": client.ask(made.name, question),
    }


def prepared(client: Client, world: worlds.World) -> tuple[str, str, str]:
    """Names of documents, probes and the bundled model in the client's project."""
    documents = client.datasets.upload(world.documents, "documents")
    probes = client.datasets.upload(world.probes, "probes", kind="probes")
    return documents.name, probes.name, client.models.import_("bundled://small", "small").result(120).name


def suite() -> worlds.World:
    """What all operations of the cases are about."""
    return worlds.suite(seed=11, reversal_worlds=6, facts=8, repeats=2, syllogism_worlds=4, catalogues=1)


def derive(client: Client) -> Operation:
    return client.datasets.augment(
        "documents", "small", "derived", group_key="world", distinct_key="fact", temperature=0.0, seed=3
    )


def evaluate(client: Client) -> Operation:
    return client.evaluations.create("small", "probes", "asked", dataset="documents", group_key="world")


def train(client: Client) -> Operation:
    return client.models.create(
        "small",
        "documents",
        "trained",
        max_steps=STEPS,
        save_steps=SAVE_STEPS,
        num_workers=2,
        zero_stage=2,
        per_device_train_batch_size=1,
        max_length=128,
        seed=5,
        bf16=False,
    )


def rows_of(client: Client, rows: Iterable[Any]) -> dict[str, Any]:
    """How many, how many twice, and a digest that knows neither their order nor the project's name."""
    texts = Counter(json.dumps(row, sort_keys=True).replace(client.parent, "") for row in rows)
    digest = hashlib.sha256("\n".join(sorted(texts.elements())).encode()).hexdigest()
    return {"rows": texts.total(), "twice": texts.total() - len(texts), "sha256": digest[:16]}


def model_of(client: Client, model: Any) -> dict[str, Any]:
    """Its weights' digest and every step's loss: each step once, from the first to the last."""
    steps = [(snapshot.step, snapshot.loss) for snapshot in client.models.watch(model.name)]
    with tempfile.TemporaryDirectory() as folder:
        weights = (Path(client.models.download(model.name, folder)) / "model.safetensors").read_bytes()
    return {
        **rows_of(client, steps),
        "in_order": [step for step, _ in steps] == list(range(1, STEPS + 1)),
        "weights": hashlib.sha256(weights).hexdigest()[:16],
    }


WORKS = {
    "derivation": Work(derive, lambda client, made: rows_of(client, client.datasets.rows(made.name))),
    "evaluation": Work(evaluate, lambda client, made: rows_of(client, answers(client, made.name))),
    "training": Work(train, model_of),
}


def answers(client: Client, name: str) -> Iterable[Any]:
    """Without how long each took."""
    for row in client.evaluations.results(name):
        yield {key: value for key, value in row.items() if "seconds" not in key and "usage" not in key}
