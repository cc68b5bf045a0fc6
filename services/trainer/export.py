"""The trained model's files: safetensors, tokenizer, a card for people. Everything a server of models needs."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from services.trainer import parity
from services.trainer.card import card
from services.trainer.config import TrainingConfig
from services.trainer.exchange import Job
from services.trainer.files import is_tokenizer_file


def export(
    engine: Any, config: TrainingConfig, job: Job, base: Path, folder: Path, result: dict[str, Any]
) -> None:
    """Writes the model into `folder` from the first worker. Every worker calls it: with ZeRO stage 3 each holds a part.

    Adds to `result["parity"]` how far the exported adapter merged into its base is from the two side by side.
    """
    state = whole_state(engine.module, adapter=config.method == "lora", partitioned=config.zero_stage == 3)
    if dist.get_rank() != 0:
        return
    merged = config.method == "lora" and config.merge_adapter
    if config.method == "lora":
        export_adapter(engine, state, config, job, base, folder, result)
    else:
        dtype = stored_dtype(base)
        # A tied tensor stays one tensor, so that it is stored once.
        memo: dict[int, torch.Tensor] = {}
        state = {
            name: memo.setdefault(id(tensor), tensor.detach().to(dtype)) for name, tensor in state.items()
        }
        engine.module.config.dtype = dtype
        engine.module.save_pretrained(folder, state_dict=state)
        note_dtype(result["parity"], dtype)
    for path in base.iterdir():
        tells_text = is_tokenizer_file(path.name) and path.name != "config.json"
        if tells_text or path.name == "ingrain.json" or path.name.startswith("LICENSE"):
            shutil.copy(path, folder / path.name)
    (folder / "README.md").write_text(card(config, job, base, result, merged), encoding="utf-8")


def export_adapter(
    engine: Any,
    state: dict[str, torch.Tensor],
    config: TrainingConfig,
    job: Job,
    base: Path,
    folder: Path,
    result: dict[str, Any],
) -> None:
    """The adapter, or with `merge_adapter` a model of its own. Either way it is put onto the base as anybody would do it, beside it and
    merged, and both are asked for the fixed tokens. Takes the memory of another base model in float32."""
    with tempfile.TemporaryDirectory(prefix="ingrain-") as name:
        adapter = Path(name) if config.merge_adapter else folder
        save_adapter(engine.module, state, job.base_model, adapter)
        told = result["parity"]
        cpu = torch.device("cpu")
        model = parity.adapter_on_base(base, adapter)
        beside = parity.logprobs(model, told["tokens"], cpu)
        if config.load_in_4bit:
            # Trained on a base in 4 bits, served on the whole one: what counts is what the files say there.
            told.update(logprobs=beside, dtype="float32")
        model = model.merge_and_unload()
        merged = parity.logprobs(model, told["tokens"], cpu)
        told["max_merged_difference"] = parity.greatest_difference(beside, merged)
        if config.merge_adapter:
            dtype = stored_dtype(base)
            model.to(dtype).save_pretrained(folder)
            note_dtype(told, dtype)


def note_dtype(told: dict[str, Any], dtype: torch.dtype) -> None:
    """Weights that are stored in 16 bits are not quite those that the log-probabilities are of."""
    if dtype != torch.float32:
        told["dtype"] = str(dtype).removeprefix("torch.")


def whole_state(module: Any, adapter: bool, partitioned: bool) -> dict[str, torch.Tensor]:
    """The module's state (an adapter's own) with every tensor whole, tied ones still the same object."""
    if not partitioned:
        return own_state(module, adapter)
    import deepspeed

    with deepspeed.zero.GatheredParameters(
        [p for p in module.parameters() if p.requires_grad or not adapter]
    ):
        copies: dict[int, torch.Tensor] = {}
        return {
            name: copies.setdefault(id(tensor), tensor.detach().clone())
            for name, tensor in own_state(module, adapter).items()
        }


def own_state(module: Any, adapter: bool) -> dict[str, torch.Tensor]:
    if adapter:
        from peft import get_peft_model_state_dict

        return get_peft_model_state_dict(module, save_embedding_layers=False)
    return module.state_dict(keep_vars=True)


def save_adapter(module: Any, state: dict[str, torch.Tensor], base_model: str, folder: Path) -> None:
    """peft's own two files, with the base model's name instead of the folder it was loaded from."""
    from safetensors.torch import save_file

    adapter_config = module.peft_config["default"]
    adapter_config.base_model_name_or_path = base_model
    adapter_config.inference_mode = True
    adapter_config.save_pretrained(folder)
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def stored_dtype(base: Path) -> torch.dtype:
    """The base model's number format on disk; training itself holds float32."""
    from safetensors import safe_open

    first = sorted(base.glob("*.safetensors"))[0]
    with safe_open(first, framework="pt") as tensors:
        dtype = tensors.get_slice(next(iter(tensors.keys()))).get_dtype()
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(dtype, torch.float32)
