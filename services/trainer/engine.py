"""Base model -> DeepSpeed engine. Needs torch, transformers, peft and DeepSpeed, no Ray."""

from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.ops
import torch
from transformers import AutoModelForCausalLM

from services.trainer.config import TrainingConfig
from services.trainer.step import forward


class CannotTrain(Exception):
    """Trying again would not help. `reason` is UPPER_SNAKE, `message` says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


def load_model(base: Path, config: TrainingConfig) -> Any:
    """The base model in float32, with adapters where asked for; checked to keep packed segments apart."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True, local_files_only=True
        )
    except (ValueError, KeyError, ImportError) as error:
        raise CannotTrain("UNSUPPORTED_MODEL", f"transformers cannot load the base model: {error}") from error
    if not keeps_segments_apart(model):
        raise CannotTrain(
            "UNSUPPORTED_MODEL",
            f"{type(model).__name__} mixes segments that share a row, so it cannot be trained on packed rows.",
        )
    if config.method == "lora":
        model = with_adapter(model, config)
    return model.train()


def keeps_segments_apart(model: Any) -> bool:
    """Whether two texts in one row get the logits that they get alone."""
    model.eval()
    size = min(model.get_input_embeddings().num_embeddings, 1000)
    ids = torch.arange(1, 13) * 7 % size
    positions = torch.cat([torch.arange(6), torch.arange(6)])
    with torch.no_grad():
        packed = forward(model, ids[None], positions[None])[0, 6:]
        alone = forward(model, ids[None, 6:], torch.arange(6)[None])[0]
    return torch.allclose(packed, alone, atol=1e-4, rtol=1e-3)


def with_adapter(model: Any, config: TrainingConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.target_modules) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise CannotTrain("UNSUPPORTED_MODEL", f"peft cannot add these adapters: {error}") from error


def new_engine(model: Any, config: TrainingConfig) -> Any:
    """DeepSpeed over the process group that is there. Only trainable parameters go in, or LoRA's frozen base would be
    partitioned and stepped too."""
    trained = [p for p in model.parameters() if p.requires_grad]
    count = sum(p.numel() for p in trained)
    # Ray gave each worker its group; its collectives are torch's, so this operator would only be compiled, never used.
    if deepspeed.accelerator.get_accelerator().device_name() == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay),
        model_parameters=trained,
        config={
            "train_micro_batch_size_per_gpu": config.per_device_train_batch_size,
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "gradient_clipping": config.max_grad_norm,
            "zero_optimization": {
                "stage": config.zero_stage,
                # DeepSpeed reserves whole buckets, 2 GB by default.
                "reduce_bucket_size": min(count, 500_000_000),
                "allgather_bucket_size": min(count, 500_000_000),
            },
            "torch_autocast": {"enabled": uses_bf16(config), "dtype": "bfloat16"},
            "steps_per_print": config.max_steps + 1,
        },
    )
    return engine


def uses_bf16(config: TrainingConfig) -> bool:
    """As asked for, else where the processor multiplies bfloat16 itself."""
    if config.bf16 is not None:
        return config.bf16
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def trained_parameters(module: Any, config: TrainingConfig) -> int:
    """An adapter's own parameters, else all; DeepSpeed's partitioned ones remember their size."""
    return sum(
        getattr(p, "ds_numel", p.numel())
        for p in module.parameters()
        if p.requires_grad or config.method == "full"
    )
