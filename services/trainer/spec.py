"""TrainingSpec -> TrainingConfig: every default resolved, every conflict refused, before anything runs."""

import dataclasses
import math
from dataclasses import dataclass

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.costs import training_flops
from servicekit.errors import Invalid

SMALL_MODEL_PARAMETERS = 100_000_000
DEFAULT_STEPS = 300
FLOAT_BYTES = 4
SPLITTINGS = {
    trainer_pb2.TrainingSpec.SPLITTING_UNSPECIFIED: "document",
    trainer_pb2.TrainingSpec.DOCUMENT: "document",
    trainer_pb2.TrainingSpec.SENTENCE: "sentence",
    trainer_pb2.TrainingSpec.CUMULATIVE: "cumulative",
}


@dataclass(frozen=True)
class TrainingConfig:
    """A complete recipe. `max_steps` is 0 only until the data is known and epochs or tokens are asked for."""

    method: str  # "full" | "lora"
    splitting: str  # "document" | "sentence" | "cumulative"
    max_steps: int
    num_train_epochs: float
    learning_rate: float
    lr_scheduler_type: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    max_length: int
    seed: int
    bf16: bool | None  # None: where the processor has it
    train_on_prompt: bool
    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: tuple[str, ...]  # empty: all linear ones
    num_workers: int
    zero_stage: int
    save_steps: int
    max_tokens: int = 0  # 0: steps or epochs are asked for

    @property
    def rows_per_step(self) -> int:
        """Packed rows of an optimizer step, all workers together."""
        return self.num_workers * self.per_device_train_batch_size * self.gradient_accumulation_steps


def resolve(spec: trainer_pb2.TrainingSpec, base: trainer_pb2.Model) -> TrainingConfig:
    """The recipe for this base model; Invalid where it cannot be."""
    lora = spec.method == trainer_pb2.TrainingSpec.LORA
    small = base.parameter_count < SMALL_MODEL_PARAMETERS
    max_length = spec.max_length or min(256, base.context_window or 256)
    if base.context_window and max_length > base.context_window:
        raise Invalid(
            "MAX_LENGTH_OVER_WINDOW",
            f"max_length {max_length} is more than the model's window of {base.context_window} tokens; lower it.",
            field="training.max_length",
            max_length=max_length,
            context_window=base.context_window,
        )
    if not lora and (spec.r or spec.lora_alpha or spec.lora_dropout or spec.target_modules):
        raise Invalid(
            "LORA_FIELD_WITHOUT_LORA",
            "r, lora_alpha, lora_dropout and target_modules need method LORA; set it or leave them out.",
            field="training.method",
        )
    if spec.max_steps and spec.num_train_epochs:
        raise Invalid(
            "STEPS_AND_EPOCHS",
            "max_steps and num_train_epochs are both set; they would contradict each other, keep one.",
            field="training.num_train_epochs",
        )
    if spec.max_tokens and (spec.max_steps or spec.num_train_epochs):
        other = "max_steps" if spec.max_steps else "num_train_epochs"
        raise Invalid(
            "TOKENS_AND_STEPS",
            f"max_tokens and {other} are both set; they would contradict each other, keep one.",
            field="training.max_tokens",
        )
    workers = spec.num_workers or 1
    rank = spec.r or 16
    return TrainingConfig(
        method="lora" if lora else "full",
        splitting=SPLITTINGS[spec.splitting],
        max_steps=spec.max_steps or (0 if spec.num_train_epochs or spec.max_tokens else DEFAULT_STEPS),
        num_train_epochs=spec.num_train_epochs,
        learning_rate=spec.learning_rate or (1e-3 if small else 2e-4 if lora else 1e-5),
        lr_scheduler_type=spec.lr_scheduler_type or "linear",
        warmup_ratio=spec.warmup_ratio if spec.HasField("warmup_ratio") else 0.03,
        weight_decay=spec.weight_decay if spec.HasField("weight_decay") else 0.01,
        max_grad_norm=spec.max_grad_norm if spec.HasField("max_grad_norm") else 1.0,
        per_device_train_batch_size=spec.per_device_train_batch_size or 4,
        gradient_accumulation_steps=spec.gradient_accumulation_steps or 1,
        max_length=max_length,
        seed=spec.seed,
        bf16=spec.bf16 if spec.HasField("bf16") else None,
        train_on_prompt=spec.train_on_prompt,
        r=rank,
        lora_alpha=spec.lora_alpha or 2.0 * rank,
        lora_dropout=spec.lora_dropout,
        target_modules=tuple(spec.target_modules),
        num_workers=workers,
        zero_stage=spec.zero_stage if spec.HasField("zero_stage") else (0 if workers == 1 else 2),
        save_steps=spec.save_steps,
        max_tokens=spec.max_tokens,
    )


def with_data(config: TrainingConfig, packed_row_count: int, nearest_steps: int = 0) -> TrainingConfig:
    """The recipe with steps reckoned from epochs or tokens (`DataSummary.nearest_steps`), and checkpoints from steps."""
    steps = (
        config.max_steps
        or nearest_steps
        or max(1, math.ceil(config.num_train_epochs * packed_row_count / config.rows_per_step))
    )
    return dataclasses.replace(
        config, max_steps=steps, save_steps=min(steps, config.save_steps or math.ceil(steps / 5))
    )


def to_proto(config: TrainingConfig, spec: trainer_pb2.TrainingSpec) -> trainer_pb2.TrainingSpec:
    """The request's spec with every default written out, as shown in `Model.training`."""
    full = trainer_pb2.TrainingSpec(
        base_model=spec.base_model,
        method=trainer_pb2.TrainingSpec.LORA if config.method == "lora" else trainer_pb2.TrainingSpec.FULL,
        splitting=trainer_pb2.TrainingSpec.Splitting.Value(config.splitting.upper()),
        # Steps that follow from the tokens asked for are told by the summary: both together would be refused.
        max_steps=0 if config.max_tokens else config.max_steps,
        max_tokens=config.max_tokens,
        num_train_epochs=config.num_train_epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        max_length=config.max_length,
        seed=config.seed,
        train_on_prompt=config.train_on_prompt,
        num_workers=config.num_workers,
        zero_stage=config.zero_stage,
        save_steps=config.save_steps,
    )
    for dataset in spec.datasets:
        full.datasets.add(dataset=dataset.dataset, weight=dataset.weight or 1.0)
    if config.bf16 is not None:
        full.bf16 = config.bf16
    if config.method == "lora":
        full.r, full.lora_alpha, full.lora_dropout = config.r, config.lora_alpha, config.lora_dropout
        full.target_modules.extend(config.target_modules or ["all-linear"])
    return full


@dataclass(frozen=True)
class DataSummary:
    """What the training data is after packing; counts are of one epoch."""

    row_count: int
    packed_row_count: int
    token_count: int  # padding not counted
    padding_ratio: float
    mean_row_tokens: float
    nearest_steps: int = 0  # steps that train nearest to the tokens asked for; 0 where none are asked for


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
