"""Import, train, adapt and serve checkpoints of several architectures, as transformers writes them, all by gRPC."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ingrain import AsyncClient
from ingrain.v1 import trainer_pb2

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
DOCUMENTS = [{"id": f"d{i}", "text": f"Alva feeds heron number {i} by the river."} for i in range(8)]
RIGHT, WRONG = "heron number 3 by the river.", "the old mill by night."
# What differs between the checkpoints that people bring; the bare one has no pad token and no chat template.
VARIANTS: dict[str, dict[str, bool]] = {
    "llama": {"sharded": True, "tied": False},
    "qwen3": {"chat_template": True},
    "mistral": {"tied": False, "chat_template": True},
    "gemma": {"pad": True},
    "phi": {"tied": False},
    "gpt2": {"sharded": True},
}


def checkpoints() -> ModuleType:
    """The builder of tiny checkpoints, shared with the trainer's tests."""
    name = "trainer_test_checkpoints"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "unit" / "trainer" / "checkpoints.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


async def test_every_architecture_goes_from_its_folder_to_answers(
    platform_address: str, import_root: Path
) -> None:
    for architecture, options in VARIANTS.items():
        checkpoints().build(import_root / architecture, architecture, **options)
    async with AsyncClient(platform_address, project="architectures") as client:
        documents = await client.datasets.upload(DOCUMENTS, id="documents")
        bases = await asyncio.gather(*(imported(client, import_root / name) for name in VARIANTS))
        lora = trainer_pb2.TrainingSpec.LORA
        specs: dict[str, dict[str, Any]] = {f"{name}-adapted": {"method": lora, "r": 4} for name in VARIANTS}
        # Full fine-tuning of each is in the trainer's own tests; one here, through the whole platform.
        specs["gpt2-tuned"] = {}
        specs["qwen3-merged"] = {"method": lora, "r": 4, "merge_adapter": True}
        by_name = dict(zip(VARIANTS, bases, strict=True))
        trained = await asyncio.gather(
            *(
                tuned(client, id, by_name[id.split("-")[0]], documents.name, spec)
                for id, spec in specs.items()
            )
        )
        for model in trained:
            before, after = await margin(client, model.base_model), await margin(client, model.name)
            assert after > before + 0.5, model.name
            # The parity gate: inference computes what the trainer computed, in float32 on this machine.
            checked = model.summary.verification
            assert checked.token_count > 20, model.name
            assert checked.max_difference <= checked.tolerance == 1e-3, model.name
            assert checked.HasField("max_merged_difference") == (model.training.method == lora)
            assert model.adapter == model.name.endswith("-adapted")
            answer = await client.generate(model.name, "Alva feeds", max_tokens=3, temperature=0.0)
            assert 1 <= answer.usage.generated_token_count <= 3
            assert answer.model == model.name


async def imported(client: AsyncClient, folder: Path) -> trainer_pb2.Model:
    request = trainer_pb2.ImportModelRequest(
        parent=client.parent, model_id=folder.name, source_uri=folder.as_uri()
    )
    model: trainer_pb2.Model = await client.operations.wait(
        await client.stubs.trainer.ImportModel(request), timeout_s=120
    )
    return model


async def tuned(
    client: AsyncClient, id: str, base: trainer_pb2.Model, documents: str, spec: dict[str, Any]
) -> trainer_pb2.Model:
    training = trainer_pb2.TrainingSpec(
        base_model=base.name,
        datasets=[trainer_pb2.WeightedDataset(dataset=documents, weight=1.0)],
        max_steps=20,
        learning_rate=3e-2,
        max_length=64,
        **spec,
    )
    request = trainer_pb2.CreateModelRequest(parent=client.parent, model_id=id, training=training)
    model: trainer_pb2.Model = await client.operations.wait(
        await client.stubs.trainer.CreateModel(request), timeout_s=600
    )
    return model


async def margin(client: AsyncClient, model: str) -> float:
    """By how much the sentence of the documents is likelier than another, in nats a token."""
    response = await client.score(model, [("Alva feeds", [RIGHT, WRONG])])
    right, wrong = response.items[0].choices
    return right.mean_logprob - wrong.mean_logprob
