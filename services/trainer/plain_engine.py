"""The same step without DeepSpeed: every worker holds everything, gradients are averaged over the process group.

For machines that have torch and transformers and nothing else, and to measure what DeepSpeed costs. Needs torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from services.trainer.config import TrainingConfig

BUCKET_BYTES = 64 << 20
STATE_FILE = "mp_rank_00_model_states.pt"


def adamw(trained: Sequence[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.AdamW:
    """In one pass over memory, on processors as on GPUs; elsewhere as torch does it by default."""
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in trained)
    return torch.optim.AdamW(
        trained,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
        fused=fused or None,
    )


def clips(
    optimizer: torch.optim.Optimizer, trained: Sequence[torch.nn.Parameter], most: float, engine: Any
) -> None:
    """Before each of its steps the optimizer clips the gradients to the norm `most` (0: does not) and tells the engine what theirs was."""

    def before_step(*_: Any) -> None:
        gradients = [p.grad for p in trained if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if most > 0:
            torch.nn.utils.clip_grads_with_norm_(trained, most, norm)
        engine._global_grad_norm = norm.item()

    optimizer.register_step_pre_hook(before_step)


class PlainEngine:
    """What the trainer uses of DeepSpeed's engine. The number formats are the same too: float32 weights under autocast."""

    def __init__(self, model: Any, config: TrainingConfig, device: torch.device, bf16: bool) -> None:
        self.module = model.to(device)
        self.device = device
        self.bf16 = bf16
        self.micro_batches = config.gradient_accumulation_steps
        self.count = 0  # micro-batches since the last optimizer step
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = adamw(self.trained, config)
        self._global_grad_norm: float | None = None
        clips(self.optimizer, self.trained, config.max_grad_norm, self)
        if config.torch_compile:
            model.compile(dynamic=True)
        if dist.get_world_size() > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.module(*args, **inputs)

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self.micro_batches).backward()

    def step(self) -> None:
        """After each micro-batch; the last one of a step moves the weights."""
        self.count += 1
        if self.count < self.micro_batches:
            return
        self.count = 0
        if dist.get_world_size() > 1:
            average([p.grad for p in self.trained if p.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def torch_autocast_enabled(self) -> bool:
        return self.bf16

    def get_global_grad_norm(self) -> float | None:
        return self._global_grad_norm

    def zero_optimization_stage(self) -> int:
        return 0

    def save_checkpoint(
        self, folder: str, tag: str, exclude_frozen_parameters: bool = False, **_: Any
    ) -> None:
        if dist.get_rank() == 0:
            frozen = {name for name, p in self.module.named_parameters() if not p.requires_grad}
            left_out = frozen if exclude_frozen_parameters else set()
            state = {name: t for name, t in self.module.state_dict().items() if name not in left_out}
            (Path(folder) / tag).mkdir(parents=True, exist_ok=True)
            torch.save(
                {"module": state, "optimizer": self.optimizer.state_dict()}, Path(folder) / tag / STATE_FILE
            )

    def load_checkpoint(self, folder: str, tag: str, load_module_strict: bool = True, **_: Any) -> None:
        state = torch.load(Path(folder) / tag / STATE_FILE, map_location=self.device, weights_only=True)
        self.module.load_state_dict(state["module"], strict=load_module_strict)
        self.optimizer.load_state_dict(state["optimizer"])


def average(gradients: Sequence[torch.Tensor]) -> None:
    """In place, over all workers, several tensors at a time."""
    world = dist.get_world_size()
    bucket: list[torch.Tensor] = []
    size = 0
    for number, gradient in enumerate(gradients, start=1):
        bucket.append(gradient)
        size += gradient.nbytes
        if size < BUCKET_BYTES and number < len(gradients):
            continue
        together = torch._utils._flatten_dense_tensors(bucket)
        dist.all_reduce(together)
        together /= world
        parts = torch._utils._unflatten_dense_tensors(together, bucket)
        for one, part in zip(bucket, parts, strict=True):
            one.copy_(part)
        bucket, size = [], 0
