"""What a training gave: losses, tokens, operations, and where it ran."""

from typing import Any

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.costs import training_flops
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.progress import measurement


def summary(
    config: TrainingConfig,
    data: DataSummary,
    base: trainer_pb2.Model,
    result: dict[str, Any],
    losses: list[float],
    wall_seconds: float,
) -> trainer_pb2.TrainingSummary:
    """`result` is the job's `result.json`, `losses` those of all steps."""
    tenth = max(1, len(losses) // 10)
    flops = training_flops(
        base.parameter_count,
        base.layer_count,
        base.hidden_size,
        result["tokens"],
        data.mean_row_tokens,
        adapter_parameter_count=result["parameter_count"] if config.method == "lora" else 0,
    )
    environment = common_pb2.Environment(
        backend="ray train + deepspeed",
        device=result["device"],
        process_count=config.num_workers,
        zero_stage=config.zero_stage,
        dtype="bfloat16" if result["bf16"] else "float32",
        versions=result["versions"],
    )
    environment.startup_duration.FromNanoseconds(int(result["startup_seconds"] * 1e9))
    return trainer_pb2.TrainingSummary(
        step_count=result.get("step", config.max_steps),
        row_count=data.row_count,
        packed_row_count=data.packed_row_count,
        padding_ratio=data.padding_ratio,
        first_loss=sum(losses[:tenth]) / tenth,
        last_loss=sum(losses[-tenth:]) / tenth,
        cost=common_pb2.Cost(
            trained_token_count=result["tokens"],
            flops=flops,
            wall_seconds=wall_seconds,
            compute_seconds=result["compute_seconds"],
        ),
        environment=environment,
        truncated_row_count=data.truncated_row_count,
        dropped_row_count=data.dropped_row_count,
        masked_row_count=data.masked_row_count,
        worker_memory_bytes=result.get("worker_memory_bytes", 0),
        model_flops_utilization=result.get("mfu"),
        best_step=result.get("best_step", 0),
        measurements=[measurement(values) for values in result.get("measurements", [])],
        learning_rate=result.get("learning_rate", config.learning_rate),
    )
