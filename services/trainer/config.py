"""The complete recipe of a training, and what is known of its data. Plain values that travel as JSON."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingConfig:
    """Every default resolved. `max_steps` is 0 only until the data is known and epochs or tokens are asked for."""

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
    use_dora: bool = False
    use_rslora: bool = False
    load_in_4bit: bool = False
    merge_adapter: bool = False
    distillation_temperature: float = 0.0  # 0: the rows' own tokens are learned
    distillation_top_k: int = 0
    replay_ratio: float = 0.0
    long_rows: str = "refuse"  # "refuse" | "truncate" | "drop"
    max_lost_row_ratio: float = 0.05
    gradient_checkpointing: bool = False
    offload_optimizer: str = "none"  # "none" | "cpu"
    offload_param: str = "none"
    deepspeed: str = ""  # JSON, laid over the platform's own
    torch_compile: bool = False
    use_liger_kernel: bool = False
    attn_implementation: str = ""  # empty: the best that there is
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    evaluates: bool = False  # held-out rows or probes are measured
    eval_ratio: float = 0.0
    eval_steps: int = 0  # 0 only until max_steps is known
    load_best_model_at_end: bool = False
    metric_for_best_model: str = "eval_loss"  # "eval_loss" | "acc"
    early_stopping_patience: int = 0
    early_stopping_threshold: float = 0.0
    learning_rates: tuple[float, ...] = ()  # those that are searched; empty: none
    search_steps: int = 0
    max_duration_s: float = 0.0  # 0: no limit
    open_fields: tuple[str, ...] = ()  # what the caller left to the platform, by name

    @property
    def rows_per_step(self) -> int:
        """Packed rows of an optimizer step, all workers together."""
        return self.num_workers * self.per_device_train_batch_size * self.gradient_accumulation_steps

    @staticmethod
    def from_json(values: dict[str, Any]) -> "TrainingConfig":
        """What `dataclasses.asdict` gave, after a way through JSON."""
        return TrainingConfig(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        )


@dataclass(frozen=True)
class DataSummary:
    """What the training data is after packing; counts are of one epoch."""

    row_count: int
    packed_row_count: int
    token_count: int  # padding not counted
    padding_ratio: float
    mean_row_tokens: float
    nearest_steps: int = 0  # steps that train nearest to the tokens asked for; 0 where none are asked for
    truncated_row_count: int = 0
    dropped_row_count: int = 0
    masked_row_count: int = 0
    replay_token_count: int = 0
    held_out_row_count: int = 0
    probe_count: int = 0
