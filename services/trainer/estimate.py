"""What a training will take, reckoned before it runs."""

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.costs import training_flops
from services.trainer.config import DataSummary, TrainingConfig

FLOAT_BYTES = 4


def trained_tokens(config: TrainingConfig, data: DataSummary) -> int:
    """Expected tokens of the whole run, padding not counted."""
    return round(config.max_steps * config.rows_per_step * config.max_length * (1 - data.padding_ratio))


def estimate(
    config: TrainingConfig, base: trainer_pb2.Model, data: DataSummary, vocabulary_size: int
) -> common_pb2.Estimate:
    """What the run will take. Memory is of one worker, in float32."""
    tokens = trained_tokens(config, data)
    flops = training_flops(
        base.parameter_count, base.layer_count, base.hidden_size, tokens, data.mean_row_tokens
    )
    notes = [
        f"{data.row_count} rows in {data.packed_row_count} packed rows of {config.max_length} tokens, "
        f"{data.padding_ratio:.1%} padding.",
        f"{config.max_steps} steps pass over the data "
        f"{config.max_steps * config.rows_per_step / data.packed_row_count:.1f} times.",
        "Memory: float32 weights, gradients, AdamW's two moments, activations without recomputation.",
    ]
    return common_pb2.Estimate(
        cost=common_pb2.Cost(trained_token_count=tokens, flops=flops),
        worker_memory_bytes=worker_memory_bytes(config, base, vocabulary_size),
        step_count=config.max_steps,
        row_count=data.row_count,
        notes=notes,
    )


def worker_memory_bytes(config: TrainingConfig, base: trainer_pb2.Model, vocabulary_size: int) -> int:
    """Weights, gradients and moments as ZeRO shards them (Rajbhandari et al. 2020, section 3), and activations:
    34 values per token, layer and unit of width (Korthikanti et al. 2022, section 4), 3 per token and vocabulary
    entry."""
    trained = base.parameter_count
    if config.method == "lora":
        # Two rank-r matrices on each of about seven square projections a layer.
        trained = 14 * config.r * base.hidden_size * base.layer_count
    shards = config.num_workers
    weights = FLOAT_BYTES * base.parameter_count / (shards if config.zero_stage == 3 else 1)
    gradients = FLOAT_BYTES * trained / (shards if config.zero_stage >= 2 else 1)
    moments = 2 * FLOAT_BYTES * trained / (shards if config.zero_stage >= 1 else 1)
    tokens = config.per_device_train_batch_size * config.max_length
    activations = FLOAT_BYTES * tokens * (34 * base.hidden_size * base.layer_count + 3 * vocabulary_size)
    return round(weights + gradients + moments + activations)
