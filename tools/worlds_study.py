"""The demo's study: which worlds, which methods, which doses. `make demo` runs one seed, `make reproduce` three."""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingrain import AsyncClient, general, worlds
from ingrain.v1 import augmenter_pb2, datasets_pb2, studies_pb2, trainer_pb2

METHODS = ("base", "icl", "finetune", "augmented_finetune", "shuffled_finetune")
# The demo also asks what a buyer would pick instead.
DEMO_METHODS = ("base", "icl", "rag", "finetune", "augmented_finetune", "shuffled_finetune")
BUNDLED = Path(__file__).resolve().parents[1] / "models" / "small"


@dataclass(frozen=True)
class Doses:
    """Equal for every training of the study, so that methods differ by their data only."""

    max_steps: int = 400
    learning_rate: float = 2e-3
    rows_per_step: int = 4  # packed rows of `max_length` tokens over all workers
    max_length: int = 256
    # Once and greedily: duplicates of a right statement are dropped while every slip of a sampled one is new, so that
    # sampling a small model again adds little but slips.
    samples_per_document: int = 1
    temperature: float = 0.0
    # With several facts in sight the small model writes many wrong ones, each but once.
    min_agreement: int = 2


@dataclass(frozen=True)
class Sizes:
    """Per seed; three seeds together give over 500 probes of each kind of comparison and syllogism.

    Worlds are as small as the bundled model reads well (its card: nine of ten reversals among eight facts), and many.
    """

    reversal_worlds: int = 22
    facts: int = 8
    repeats: int = 2
    syllogism_worlds: int = 22
    syllogism_count: int = 8
    catalogues: int = 1


def suite(seed: int, sizes: Sizes | None = None, **changes: Any) -> worlds.World:
    """The worlds of one seed at the study's sizes; `changes` are further parameters of `worlds.suite`."""
    return worlds.suite(seed=seed, **asdict(sizes or Sizes()), **changes)


def request_id(*parts: object) -> str:
    """The same UUID for the same content: a second run finds what the first one made."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_OID, digest))


async def bundled_model(client: AsyncClient) -> str:
    """The bundled model's name on this platform, imported once for each version of its weights."""
    weights = hashlib.sha256((BUNDLED / "model.safetensors").read_bytes()).hexdigest()
    request = trainer_pb2.ImportModelRequest(
        parent=client.parent,
        model_id=f"small-{weights[:8]}",
        source_uri="bundled://small",
        display_name="bundled small model",
        request_id=request_id(client.parent, "import", weights),
    )
    model = await client.operations.wait(await client.stubs.trainer.ImportModel(request))
    return model.name


async def upload_worlds(
    client: AsyncClient, world: worlds.World
) -> tuple[datasets_pb2.Dataset, datasets_pb2.Dataset]:
    """Documents and probes of a world as two datasets named after their content."""

    async def upload(what: str, rows: list[dict[str, Any]]) -> datasets_pb2.Dataset:
        identity = request_id(client.parent, what, rows)
        return await client.datasets.upload(
            rows,
            id=f"{world.name}-{what}-{identity[:8]}",
            display_name=f"{world.name}: {what}",
            request_id=identity,
        )

    return await upload("documents", world.documents), await upload("probes", world.probes)


async def upload_kept(client: AsyncClient, seed: int) -> studies_pb2.Retention:
    """What nobody trains on: other worlds, as text, as questions, and as questions with them in the context."""
    kept = general.held_out(900 + seed)
    world = worlds.World(f"kept-{seed}", kept.context, kept.context_probes)
    documents, asked = await upload_worlds(client, world)
    text, alone = await upload_worlds(client, worlds.World(f"kept-alone-{seed}", kept.text, kept.probes))
    return studies_pb2.Retention(
        text=text.name,
        probes=alone.name,
        context=documents.name,
        context_probes=asked.name,
        group_key=kept.group_key,
        distinct_key=kept.distinct_key,
    )


def study_request(
    client: AsyncClient,
    documents: datasets_pb2.Dataset,
    probes: datasets_pb2.Dataset,
    model: str,
    seed: int,
    worker_count: int = 1,
    doses: Doses | None = None,
    methods: tuple[str, ...] = METHODS,
    prompt_set: str = "",
    retention: studies_pb2.Retention | None = None,
) -> studies_pb2.CreateStudyRequest:
    doses = doses or Doses()
    training = trainer_pb2.TrainingSpec(
        max_steps=doses.max_steps,
        learning_rate=doses.learning_rate,
        per_device_train_batch_size=max(1, doses.rows_per_step // worker_count),
        max_length=doses.max_length,
        num_workers=worker_count,
        zero_stage=2 if worker_count > 1 else 0,
        seed=seed,
    )
    augmentation = augmenter_pb2.AugmentationSpec(
        samples_per_document=doses.samples_per_document,
        temperature=doses.temperature,
        min_agreement=doses.min_agreement,
        seed=seed,
        prompt_set=prompt_set,
    )
    spec = studies_pb2.StudySpec(
        dataset=documents.name,
        probes=probes.name,
        model=model,
        methods=methods,
        training=training,
        augmentation=augmentation,
        group_key="world",
        distinct_key="fact",
        seed=seed,
        retention=retention,
    )
    identity = request_id(
        client.parent, spec.SerializeToString(deterministic=True).hex(), documents.sha256, probes.sha256
    )
    return studies_pb2.CreateStudyRequest(
        parent=client.parent,
        study_id=f"worlds-{seed}-{identity[:8]}",
        study=studies_pb2.Study(display_name=f"invented worlds, seed {seed}", spec=spec),
        request_id=identity,
    )
