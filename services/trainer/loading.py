"""Base model -> what is trained: number format, attention, adapters, the loss at its targets. Needs torch, transformers and peft;
neither Ray nor DeepSpeed."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from services.trainer import attention
from services.trainer.adapters import with_adapter
from services.trainer.config import TrainingConfig
from services.trainer.losses import learns_at_targets
from services.trainer.refusals import CannotTrain
from services.trainer.step import forward
from services.trainer.tokens import in_line


def load_model(base: Path, config: TrainingConfig) -> Any:
    """The base model in float32 (in 4 bits where asked for), with adapters where asked for; checked to keep packed texts apart."""
    refuse_missing(config)
    attention.register()
    quantized = quantization(config)
    model = loaded(base, config, attention_of(config), quantized)
    if not config.attn_implementation and not agrees(model):
        model.set_attn_implementation("sdpa")
    if not keeps_segments_apart(model):
        raise CannotTrain(
            "UNSUPPORTED_MODEL",
            f"{type(model).__name__} mixes segments that share a row, so it cannot be trained on packed rows.",
        )
    if quantized:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if config.use_liger_kernel:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(model=model, fused_linear_cross_entropy=False, cross_entropy=False)
    if config.method == "lora":
        model = with_adapter(model, config)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    learns_at_targets(model)
    return model.train()


def loaded(base: Path, config: TrainingConfig, implementation: str, quantized: dict[str, Any]) -> Any:
    try:
        return AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.bfloat16 if quantized else torch.float32,
            attn_implementation=implementation,
            use_safetensors=True,
            local_files_only=True,
            **quantized,
        )
    except (ValueError, KeyError, ImportError) as error:
        if implementation == attention.NAME and not config.attn_implementation:
            return loaded(base, config, "sdpa", quantized)
        raise CannotTrain("UNSUPPORTED_MODEL", f"transformers cannot load the base model: {error}") from error


def refuse_missing(config: TrainingConfig) -> None:
    """CannotTrain where this machine has not what is asked for."""
    asked = {
        "load_in_4bit": config.load_in_4bit,
        "torch_compile": config.torch_compile,
        "use_liger_kernel": config.use_liger_kernel,
        "attn_implementation flash_attention_2": config.attn_implementation == "flash_attention_2",
    }
    for name, there in asked.items():
        if there and not torch.cuda.is_available():
            raise CannotTrain("NO_GPU", f"{name} needs a GPU, and this worker has none; leave it out.")
    packages = {
        "load_in_4bit": ("bitsandbytes", config.load_in_4bit),
        "use_liger_kernel": ("liger_kernel", config.use_liger_kernel),
        "attn_implementation flash_attention_2": (
            "flash_attn",
            config.attn_implementation == "flash_attention_2",
        ),
    }
    for name, (package, there) in packages.items():
        if there and importlib.util.find_spec(package) is None:
            raise CannotTrain(
                "PACKAGE_MISSING",
                f"{name} needs the package {package.replace('_', '-')}, which the workers do not have; install it or leave it out.",
            )


def attention_of(config: TrainingConfig) -> str:
    """As asked for; else the platform's own, in which a text costs what it costs alone."""
    return config.attn_implementation or attention.NAME


def quantization(config: TrainingConfig) -> dict[str, Any]:
    if not config.load_in_4bit:
        return {}
    from transformers import BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": nf4, "device_map": {"": torch.cuda.current_device()}}


@torch.no_grad()
def agrees(model: Any) -> bool:
    """Whether the platform's attention gives what the model has alone: not every architecture asks for it, or tells it all."""
    from services.trainer.data import Batch

    model.eval()
    device = next(model.parameters()).device
    ids, positions = two_texts(model)
    try:
        reading = in_line(Batch(ids[None].to(device), positions[None].to(device), ids[None].to(device)))
        found = model(**reading.inputs).logits[0].float()
        alone = [model(input_ids=ids[None, s].to(device), use_cache=False).logits[0] for s in HALVES]
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError, IndexError):
        return False
    # The last token of a text is not read.
    expected = torch.cat([logits[:-1].float() for logits in alone])
    return found.shape == expected.shape and torch.allclose(found, expected, **tolerance(model))


HALVES = (slice(0, 6), slice(6, 12))


def two_texts(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of six tokens each, and their positions."""
    size = min(model.get_input_embeddings().num_embeddings, 1000)
    return torch.arange(1, 13) * 7 % size, torch.cat([torch.arange(6), torch.arange(6)])


def keeps_segments_apart(model: Any) -> bool:
    """Whether two texts in one row get the logits that they get alone."""
    model.eval()
    device = next(model.parameters()).device
    ids, positions = (t.to(device) for t in two_texts(model))
    with torch.no_grad():
        packed = forward(model, ids[None], positions[None])[0, 6:].float()
        alone = forward(model, ids[None, 6:], positions[None, :6])[0].float()
    return torch.allclose(packed, alone, **tolerance(model))


def tolerance(model: Any) -> dict[str, float]:
    """Within which two ways to the same logits agree; weights of 4 bits are multiplied in bfloat16."""
    half = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())
    return {"atol": 0.25} if half else {"atol": 1e-4, "rtol": 1e-3}


def uses_bf16(config: TrainingConfig) -> bool:
    """As asked for, else where the processor multiplies bfloat16 itself."""
    if config.bf16 is not None:
        return config.bf16
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
