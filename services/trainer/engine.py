"""Base model -> engine: DeepSpeed's, or the platform's own where there is no DeepSpeed. Needs torch, transformers and peft, no Ray."""

import json
from typing import Any

import torch

from services.trainer.config import TrainingConfig
from services.trainer.loading import keeps_segments_apart, load_model, uses_bf16
from services.trainer.plain_engine import adamw, clips
from services.trainer.refusals import CannotTrain

__all__ = [
    "CannotTrain",
    "keeps_segments_apart",
    "load_model",
    "new_engine",
    "trained_parameters",
    "uses_bf16",
]

LARGEST_BUCKET = 500_000_000  # numbers that DeepSpeed sends at once


def new_engine(model: Any, config: TrainingConfig) -> Any:
    """DeepSpeed over the process group that is there. Only trainable parameters go in, or LoRA's frozen base would be
    partitioned and stepped too. `get_global_grad_norm()` is that of the last step, before clipping, with every stage."""
    import deepspeed
    import deepspeed.ops
    import torch.distributed as dist

    trained = [p for p in model.parameters() if p.requires_grad]
    # Ray gave each worker its group; its collectives are torch's, so this operator would only be compiled, never used.
    if deepspeed.accelerator.get_accelerator().device_name() == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if config.torch_compile:
        model.compile(dynamic=True)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=adamw(trained, config),
        model_parameters=trained,
        config=deepspeed_config(config, sum(p.numel() for p in trained)),
    )
    if engine.zero_optimization_stage() == 0:
        # Here DeepSpeed clips without telling the norm.
        clips(engine.optimizer, trained, config.max_grad_norm, engine)
        if dist.get_world_size() == 1:
            # Alone there is nothing to add up, and all gradients would be copied there and back for it.
            engine.enable_backward_allreduce = False
    return engine


def deepspeed_config(config: TrainingConfig, parameter_count: int) -> dict[str, Any]:
    """The platform's own with the caller's JSON laid over it."""
    offload = {
        f"offload_{what}": {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        for what, where in (("optimizer", config.offload_optimizer), ("param", config.offload_param))
        if where == "cpu"
    }
    # What is offloaded has to be partitioned.
    stage = max(config.zero_stage, 1) if offload else config.zero_stage
    own: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": config.per_device_train_batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "gradient_clipping": config.max_grad_norm if stage else 0.0,
        "zero_optimization": {
            "stage": stage,
            # DeepSpeed reserves whole buckets, 2 GB by default.
            "reduce_bucket_size": min(parameter_count, LARGEST_BUCKET),
            "allgather_bucket_size": min(parameter_count, LARGEST_BUCKET),
            **offload,
        },
        "torch_autocast": {"enabled": uses_bf16(config), "dtype": "bfloat16"},
        "steps_per_print": config.max_steps + 1,
    }
    if offload:
        # Its own optimizer for processors is compiled on the worker when it is first used; torch's is there.
        own["zero_force_ds_cpu_optimizer"] = False
    return laid_over(own, json.loads(config.deepspeed)) if config.deepspeed else own


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both, key by key at every depth; where they differ `above` counts."""
    both = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = laid_over(below[key], above[key])
    return both


def trained_parameters(module: Any, config: TrainingConfig) -> int:
    """An adapter's own parameters, else all; DeepSpeed's partitioned ones remember their size."""
    return sum(
        getattr(p, "ds_numel", p.numel())
        for p in module.parameters()
        if p.requires_grad or config.method == "full"
    )
