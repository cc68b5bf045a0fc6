"""The whole worker without Ray: base model -> steps -> export -> anybody loads it; for every architecture."""

import asyncio
import json
from dataclasses import asdict

import pytest
import torch

from ingrain.v1 import trainer_pb2
from services.trainer import checkpoints, exchange
from services.trainer.engine import CannotTrain
from services.trainer.loop import loop

pytestmark = pytest.mark.usefixtures("process_group")
ARCHITECTURES = ["llama", "qwen3", "mistral", "gemma", "phi", "gpt2"]


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def logits(model):
    with torch.no_grad():
        return model(torch.arange(10, 40)[None]).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("options", [{"tied": True}, {"tied": False, "sharded": True, "chat_template": True}])
def test_a_trained_model_is_loaded_by_anybody(fit, build_checkpoint, architecture, options, monkeypatch):
    base = build_checkpoint(architecture, **options)
    one = fit(base)
    kept = keep_trained(monkeypatch)
    result, lines, folder = one.run(one.job(1, max_steps=2, save_steps=2, learning_rate=0.01, bf16=False))
    trained = load(folder)
    assert torch.allclose(logits(trained), logits(kept[0].eval()), atol=1e-5)
    assert not torch.allclose(logits(trained), logits(load(base)), atol=1e-3)
    assert result["parameter_count"] == sum(p.numel() for p in trained.parameters())
    assert [line["step"] for line in lines if "step" in line] == [1, 2]
    assert [line["checkpoint"]["step"] for line in lines if "checkpoint" in line] == [2]
    assert (folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert not list(folder.glob("*.bin")) + list(folder.glob("*.pt"))
    assert str(base.parent) not in (folder / "config.json").read_text()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_trained_adapter_is_loaded_by_peft(fit, build_checkpoint, architecture, monkeypatch):
    from peft import PeftModel

    base = build_checkpoint(architecture)
    one = fit(base)
    kept = keep_trained(monkeypatch)
    job = one.job(1, max_steps=2, learning_rate=0.01, bf16=False, method=trainer_pb2.TrainingSpec.LORA, r=4)
    result, _, folder = one.run(job)
    adapted = PeftModel.from_pretrained(load(base), folder).eval()
    assert torch.allclose(logits(adapted), logits(kept[0].eval()), atol=1e-5)
    assert not torch.allclose(logits(adapted), logits(load(base)), atol=1e-4)
    assert 0 < result["parameter_count"] < sum(p.numel() for p in load(base).parameters())
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "projects/p/models/base"
    assert not (folder / "model.safetensors").exists()


def keep_trained(monkeypatch):
    """What was trained, as it is in memory when it is exported."""
    from services.trainer import loop as room

    kept, export = [], room.export

    def keeping(engine, *rest):
        kept.append(engine.module)
        return export(engine, *rest)

    monkeypatch.setattr(room, "export", keeping)
    return kept


def losses(lines):
    return {line["step"]: line["loss"] for line in lines if "step" in line}


@pytest.mark.parametrize("spec", [{}, {"method": trainer_pb2.TrainingSpec.LORA, "r": 4, "lora_dropout": 0.2}])
def test_a_resumed_run_is_the_same_run(fit, build_checkpoint, spec):
    one = fit(build_checkpoint("llama"))
    spec = {"max_steps": 6, "save_steps": 3, "seed": 11, "learning_rate": 0.01, "bf16": False, **spec}
    _, whole, folder = one.run(one.job(1, **spec))
    checkpoint = next(line["checkpoint"] for line in whole if line.get("checkpoint", {}).get("step") == 3)
    result, rest, again = one.run(one.job(2, checkpoint=checkpoint, **spec))
    assert losses(rest) == {step: loss for step, loss in losses(whole).items() if step > 3}
    assert [line["tokens"] for line in rest if "step" in line] == [
        line["tokens"] for line in whole if line.get("step", 0) > 3
    ]
    for path in folder.glob("*.safetensors"):
        assert path.read_bytes() == (again / path.name).read_bytes()
    assert result["tokens"] == [line["tokens"] for line in whole if "step" in line][-1]


def test_a_checkpoint_that_is_not_what_was_saved_is_never_loaded(fit, build_checkpoint):
    one = fit(build_checkpoint("llama"))
    job = one.job(1, max_steps=2, save_steps=1)
    _, lines, _ = one.run(job)
    checkpoint = next(line["checkpoint"] for line in lines if "checkpoint" in line)
    key = f"{checkpoint['key']}/{checkpoint['files'][0]['name']}"
    asyncio.run(one.storage.put(key, b"\x80\x04another pickle"))
    with pytest.raises(RuntimeError, match="is not what was saved"):
        checkpoints.load(None, one.storage, checkpoints.Checkpoint(**checkpoint), one.root / "load")


def test_micro_batches_add_up_to_the_same_step(fit, build_checkpoint):
    """The loss is the mean over the step's targets, however they are dealt out."""
    one = fit(build_checkpoint("llama"))
    spec = {"max_steps": 2, "bf16": False, "learning_rate": 0.01, "weight_decay": 0.0}
    _, large, _ = one.run(one.job(1, per_device_train_batch_size=4, **spec))
    _, small, _ = one.run(one.job(2, per_device_train_batch_size=1, gradient_accumulation_steps=4, **spec))
    for step in (1, 2):
        assert losses(small)[step] == pytest.approx(losses(large)[step], rel=1e-5)
    norms = [[line["grad_norm"] for line in lines if "step" in line] for lines in (large, small)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_loss_that_is_no_number_ends_the_training(fit, build_checkpoint, monkeypatch):
    from services.trainer import steps as room

    one = fit(build_checkpoint("llama"))
    job = one.job(1, max_steps=5)
    monkeypatch.setattr(room, "train_step", lambda *_: (float("nan"), 0.0))
    with pytest.raises(CannotTrain, match="lower the learning rate"):
        loop(asdict(job))
    assert asyncio.run(exchange.get_json(one.storage, exchange.result_key(job.prefix))) is None
    told = asyncio.run(exchange.get_json(one.storage, exchange.error_key(job.prefix)))
    assert (told["reason"], told["permanent"]) == ("TRAINING_DIVERGED", True)


def test_adapters_on_modules_that_are_not_there_are_told(fit, build_checkpoint):
    one = fit(build_checkpoint("llama"))
    job = one.job(1, max_steps=1, method=trainer_pb2.TrainingSpec.LORA, target_modules=["no_such"])
    with pytest.raises(CannotTrain, match="no_such"):
        loop(asdict(job))
    told = asyncio.run(exchange.get_json(one.storage, exchange.error_key(job.prefix)))
    assert told["reason"] == "UNSUPPORTED_MODEL"
