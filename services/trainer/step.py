"""One optimizer step (legend: B packed rows of a micro-batch, L tokens of a row, V vocabulary).

Needs torch and an initialised process group; no Ray, and DeepSpeed only where the engine is DeepSpeed's.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from services.trainer.config import TrainingConfig
from services.trainer.packing import IGNORED
from services.trainer.tokens import IN_LINE, Reading, in_line, in_rows

if TYPE_CHECKING:
    from services.trainer.data import Batch


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Of optimizer step `step`, from 1: linear warm-up, then constant, linear to 0 or half a cosine to 0."""
    warmup = round(config.warmup_ratio * config.max_steps)
    if step <= warmup:
        return config.learning_rate * step / warmup
    if config.lr_scheduler_type == "constant":
        return config.learning_rate
    # The last step still moves: the line reaches 0 one step after it.
    left = (config.max_steps + 1 - step) / (config.max_steps + 1 - warmup)
    if config.lr_scheduler_type == "cosine":
        return config.learning_rate * (1 - math.cos(math.pi * left)) / 2
    return config.learning_rate * left


def target_loss_sum(logits_BLV: torch.Tensor, labels_BL: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats summed over the targets; position i predicts label i + 1."""
    return F.cross_entropy(
        logits_BLV[:, :-1].flatten(0, 1).float(),
        labels_BL[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def forward(model: Any, input_ids_BL: torch.Tensor, position_ids_BL: torch.Tensor) -> torch.Tensor:
    """Logits [B, L, V] of packed rows.

    No attention mask and no cache: only then does transformers see from the restarting positions where a segment
    begins; with either of them the segments silently read one another.
    """
    return model(input_ids=input_ids_BL, position_ids=position_ids_BL, use_cache=False).logits


def train_step(
    engine: Any,
    micro_batches: "Sequence[Batch]",
    target_count: int,
    rate: float,
) -> tuple[float, float]:
    """Mean loss over the step's `target_count` targets of all workers, and the gradient's norm before clipping.

    `micro_batches` are this worker's. Engines average gradients over workers and micro-batches; the loss is scaled so that what
    remains is the mean over targets, however they are spread over rows and workers.
    """
    world = dist.get_world_size()
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    loss_sum = torch.zeros(1, device=engine.device)
    for batch in micro_batches:
        loss = loss_sum_of(engine, batch)
        loss_sum += loss.detach()
        engine.backward(loss * (world * len(micro_batches) / target_count))
        engine.step()
    if world > 1:
        dist.all_reduce(loss_sum)
    return loss_sum.item() / target_count, float(engine.get_global_grad_norm() or 0.0)


def loss_sum_of(engine: Any, batch: "Batch") -> torch.Tensor:
    """Of the micro-batch's targets: what their teacher says of them where there is one, else their cross-entropy."""
    reading = reading_of(engine, batch)
    return engine(**reading.inputs, targets=reading.targets)


def reading_of(engine: Any, batch: "Batch") -> Reading:
    implementation = engine.module.config._attn_implementation
    if implementation not in IN_LINE:
        return in_rows(batch)
    few_shapes = engine.device.type == "cpu" and engine.torch_autocast_enabled()
    return in_line(batch, implementation, few_shapes)
