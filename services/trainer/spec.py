"""TrainingSpec -> TrainingConfig: every default resolved, every conflict refused, before anything runs."""

import dataclasses
import json
import math

from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid
from services.trainer.config import TrainingConfig

SMALL_MODEL_PARAMETERS = 100_000_000
DEFAULT_STEPS = 300
TRAINING_LENGTH = 256
Spec = trainer_pb2.TrainingSpec
SPLITTINGS = {
    Spec.SPLITTING_UNSPECIFIED: "document",
    Spec.DOCUMENT: "document",
    Spec.SENTENCE: "sentence",
    Spec.CUMULATIVE: "cumulative",
}
LONG_ROWS = {
    Spec.LONG_ROWS_UNSPECIFIED: "refuse",
    Spec.REFUSE: "refuse",
    Spec.TRUNCATE: "truncate",
    Spec.DROP: "drop",
}
LORA_FIELDS = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "use_dora",
    "use_rslora",
    "load_in_4bit",
    "merge_adapter",
)
# What DeepSpeed's configuration says that has a field of its own here, or follows from one.
DEEPSPEED_OWN = {
    "train_batch_size": "per_device_train_batch_size",
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "optimizer": "learning_rate and weight_decay",
    "scheduler": "lr_scheduler_type",
    "bf16": "bf16",
    "fp16": "bf16",
    "torch_autocast": "bf16",
}


def resolve(spec: Spec, base: trainer_pb2.Model) -> TrainingConfig:
    """The recipe for this base model; Invalid where it cannot be."""
    lora = spec.method == Spec.LORA
    small = base.parameter_count < SMALL_MODEL_PARAMETERS
    max_length = spec.max_length or min(TRAINING_LENGTH, base.context_window or TRAINING_LENGTH)
    refuse_conflicts(spec, base, max_length)
    workers = spec.num_workers or 1
    rank = spec.r or 16
    learning_rate = spec.learning_rate or (1e-3 if small else 2e-4 if lora else 1e-5)
    return TrainingConfig(
        method="lora" if lora else "full",
        splitting=SPLITTINGS[spec.splitting],
        max_steps=spec.max_steps or (0 if spec.num_train_epochs or spec.max_tokens else DEFAULT_STEPS),
        num_train_epochs=spec.num_train_epochs,
        learning_rate=learning_rate,
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
        use_dora=spec.use_dora,
        use_rslora=spec.use_rslora,
        load_in_4bit=spec.load_in_4bit,
        merge_adapter=spec.merge_adapter,
        long_rows=LONG_ROWS[spec.long_rows],
        max_lost_row_ratio=spec.max_lost_row_ratio if spec.HasField("max_lost_row_ratio") else 0.05,
        gradient_checkpointing=spec.gradient_checkpointing,
        offload_optimizer=spec.offload_optimizer or "none",
        offload_param=spec.offload_param or "none",
        deepspeed=spec.deepspeed,
        torch_compile=spec.torch_compile,
        use_liger_kernel=spec.use_liger_kernel,
        attn_implementation=spec.attn_implementation,
        adam_beta1=spec.adam_beta1 if spec.HasField("adam_beta1") else 0.9,
        adam_beta2=spec.adam_beta2 if spec.HasField("adam_beta2") else 0.999,
        adam_epsilon=spec.adam_epsilon if spec.HasField("adam_epsilon") else 1e-8,
        replay_ratio=spec.replay.ratio,
        max_duration_s=spec.max_duration.ToNanoseconds() / 1e9,
        open_fields=open_fields(spec),
        **distillation(spec),
        **evaluation(spec),
        **search(spec, learning_rate),
    )


def open_fields(spec: Spec) -> tuple[str, ...]:
    """What the caller left to the platform, which may then choose it by the memory there is."""
    given = {
        "zero_stage": spec.HasField("zero_stage"),
        "per_device_train_batch_size": bool(
            spec.per_device_train_batch_size or spec.gradient_accumulation_steps
        ),
        "gradient_checkpointing": spec.HasField("gradient_checkpointing"),
        "offload_optimizer": bool(spec.offload_optimizer),
    }
    return tuple(name for name, there in given.items() if not there)


def distillation(spec: Spec) -> dict[str, float]:
    if not spec.HasField("distillation"):
        return {}
    return {
        "distillation_temperature": spec.distillation.temperature or 1.0,
        "distillation_top_k": spec.distillation.top_k or 64,
    }


def evaluation(spec: Spec) -> dict[str, object]:
    given = spec.evaluation
    if not (given.datasets or given.eval_ratio or given.probes):
        return {}
    best = given.load_best_model_at_end if given.HasField("load_best_model_at_end") else True
    return {
        "evaluates": True,
        "eval_ratio": given.eval_ratio,
        "eval_steps": given.eval_steps,
        "load_best_model_at_end": best,
        "metric_for_best_model": given.metric_for_best_model or ("acc" if given.probes else "eval_loss"),
        "early_stopping_patience": given.early_stopping_patience,
        "early_stopping_threshold": given.early_stopping_threshold,
    }


def search(spec: Spec, learning_rate: float) -> dict[str, object]:
    if not spec.HasField("learning_rate_search"):
        return {}
    given = spec.learning_rate_search
    around = [learning_rate * 10 ** (quarter / 4) for quarter in (-2, -1, 0, 1, 2)]
    rates = given.learning_rates or [float(f"{rate:.3g}") for rate in around]
    return {"learning_rates": tuple(dict.fromkeys(rates)), "search_steps": given.max_steps}


def refuse_conflicts(spec: Spec, base: trainer_pb2.Model, max_length: int) -> None:
    """Invalid names the field that would have to give way."""
    if base.context_window and max_length > base.context_window:
        raise Invalid(
            "MAX_LENGTH_OVER_WINDOW",
            f"max_length {max_length} is more than the model's window of {base.context_window} tokens; lower it.",
            field="training.max_length",
            max_length=max_length,
            context_window=base.context_window,
        )
    if spec.method != Spec.LORA and any(getattr(spec, name) for name in LORA_FIELDS):
        raise Invalid(
            "LORA_FIELD_WITHOUT_LORA",
            f"{', '.join(LORA_FIELDS[:-1])} and {LORA_FIELDS[-1]} need method LORA; set it or leave them out.",
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
    if spec.offload_param == "cpu" and spec.HasField("zero_stage") and spec.zero_stage != 3:
        raise Invalid(
            "OFFLOAD_WITHOUT_STAGE_3",
            "offload_param needs zero_stage 3: only there parameters are partitioned.",
            field="training.offload_param",
        )
    if spec.load_in_4bit and spec.HasField("zero_stage") and spec.zero_stage == 3:
        raise Invalid(
            "QUANTIZED_WITH_STAGE_3",
            "A base in 4 bits cannot be partitioned; use zero_stage 2 or less with load_in_4bit.",
            field="training.zero_stage",
        )
    refuse_evaluation_conflicts(spec)
    refuse_deepspeed_conflicts(spec)


def refuse_evaluation_conflicts(spec: Spec) -> None:
    given = spec.evaluation
    if given.datasets and given.eval_ratio:
        raise Invalid(
            "TWO_HELD_OUT_SETS",
            "evaluation.datasets and evaluation.eval_ratio both say what is held out; keep one.",
            field="training.evaluation.eval_ratio",
        )
    if given.metric_for_best_model == "acc" and not given.probes:
        raise Invalid(
            "METRIC_WITHOUT_DATA",
            "metric_for_best_model acc needs evaluation.probes.",
            field="training.evaluation.metric_for_best_model",
        )
    if given.metric_for_best_model == "eval_loss" and not (given.datasets or given.eval_ratio):
        raise Invalid(
            "METRIC_WITHOUT_DATA",
            "metric_for_best_model eval_loss needs evaluation.datasets or evaluation.eval_ratio.",
            field="training.evaluation.metric_for_best_model",
        )
    if spec.HasField("evaluation") and not (given.datasets or given.eval_ratio or given.probes):
        raise Invalid(
            "NOTHING_TO_EVALUATE",
            "evaluation names neither datasets, nor an eval_ratio, nor probes.",
            field="training.evaluation",
        )
    if spec.HasField("learning_rate_search") and not (given.datasets or given.eval_ratio):
        raise Invalid(
            "SEARCH_WITHOUT_EVALUATION",
            "learning_rate_search compares eval_loss; name evaluation.datasets or an evaluation.eval_ratio.",
            field="training.learning_rate_search",
        )


def refuse_deepspeed_conflicts(spec: Spec) -> None:
    if not spec.deepspeed:
        return
    try:
        given = json.loads(spec.deepspeed)
    except ValueError as error:
        raise Invalid(
            "DEEPSPEED_NOT_JSON", f"deepspeed is not JSON: {error}.", field="training.deepspeed"
        ) from None
    if not isinstance(given, dict):
        raise Invalid("DEEPSPEED_NOT_JSON", "deepspeed is no JSON object.", field="training.deepspeed")
    for key in given:
        if key in DEEPSPEED_OWN:
            raise Invalid(
                "DEEPSPEED_KEY_OF_OURS",
                f"deepspeed says {key}, for which there is a field: set {DEEPSPEED_OWN[key]} instead.",
                field="training.deepspeed",
                key=key,
            )
    if isinstance(zero := given.get("zero_optimization"), dict) and "stage" in zero:
        raise Invalid(
            "DEEPSPEED_KEY_OF_OURS",
            "deepspeed says zero_optimization.stage, for which there is a field: set zero_stage instead.",
            field="training.deepspeed",
            key="zero_optimization.stage",
        )


def with_data(config: TrainingConfig, packed_row_count: int, nearest_steps: int = 0) -> TrainingConfig:
    """The recipe with steps reckoned from epochs or tokens (`DataSummary.nearest_steps`), and what follows from steps."""
    steps = (
        config.max_steps
        or nearest_steps
        or max(1, math.ceil(config.num_train_epochs * packed_row_count / config.rows_per_step))
    )
    fifth = math.ceil(steps / 5)
    return dataclasses.replace(
        config,
        max_steps=steps,
        save_steps=min(steps, config.save_steps or fifth),
        eval_steps=min(steps, config.eval_steps or fifth) if config.evaluates else 0,
        search_steps=(config.search_steps or min(steps, max(10, steps // 3))) if config.learning_rates else 0,
    )


def to_proto(config: TrainingConfig, spec: Spec) -> Spec:
    """The request's spec with every default written out, as shown in `Model.training`."""
    full = Spec()
    full.CopyFrom(spec)
    full.method = Spec.LORA if config.method == "lora" else Spec.FULL
    full.splitting = Spec.Splitting.Value(config.splitting.upper())
    full.long_rows = Spec.LongRows.Value(config.long_rows.upper())
    # Steps that follow from the tokens asked for are told by the summary: both together would be refused.
    full.max_steps = 0 if config.max_tokens else config.max_steps
    for name in (
        "num_train_epochs",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_ratio",
        "weight_decay",
        "max_grad_norm",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "max_length",
        "num_workers",
        "zero_stage",
        "save_steps",
        "max_lost_row_ratio",
        "gradient_checkpointing",
        "offload_optimizer",
        "offload_param",
        "attn_implementation",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
    ):
        setattr(full, name, getattr(config, name))
    for dataset in full.datasets:
        dataset.weight = dataset.weight or 1.0
    if config.bf16 is not None:
        full.bf16 = config.bf16
    if config.method == "lora":
        full.r, full.lora_alpha, full.lora_dropout = config.r, config.lora_alpha, config.lora_dropout
        full.target_modules[:] = config.target_modules or ["all-linear"]
    if config.evaluates:
        full.evaluation.eval_steps = config.eval_steps
        full.evaluation.load_best_model_at_end = config.load_best_model_at_end
        full.evaluation.metric_for_best_model = config.metric_for_best_model
    if config.distillation_temperature:
        full.distillation.temperature = config.distillation_temperature
        full.distillation.top_k = config.distillation_top_k
    if config.learning_rates:
        full.learning_rate_search.learning_rates[:] = config.learning_rates
        full.learning_rate_search.max_steps = config.search_steps
    return full
