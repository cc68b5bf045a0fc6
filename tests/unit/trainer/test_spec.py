import pytest

from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid
from services.trainer.config import DataSummary
from services.trainer.estimate import trained_tokens
from services.trainer.spec import resolve, to_proto, with_data

Spec = trainer_pb2.TrainingSpec
SMALL = trainer_pb2.Model(parameter_count=10**6, context_window=512, layer_count=4, hidden_size=128)
LARGE = trainer_pb2.Model(parameter_count=10**9, context_window=4096, layer_count=20, hidden_size=2048)
DATA = DataSummary(
    row_count=100, packed_row_count=20, token_count=4096, padding_ratio=0.2, mean_row_tokens=40.96
)


def test_defaults_are_those_of_the_contract():
    config = resolve(Spec(), SMALL)
    assert (config.method, config.splitting, config.max_steps) == ("full", "document", 300)
    assert (config.learning_rate, config.lr_scheduler_type) == (1e-3, "linear")
    assert (config.warmup_ratio, config.weight_decay, config.max_grad_norm) == (0.03, 0.01, 1.0)
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (4, 1)
    assert (config.max_length, config.num_workers, config.zero_stage) == (256, 1, 0)
    assert config.bf16 is None
    assert not config.train_on_prompt


def test_learning_rate_depends_on_size_and_method():
    assert resolve(Spec(), LARGE).learning_rate == 1e-5
    assert resolve(Spec(method=Spec.LORA), LARGE).learning_rate == 2e-4
    assert resolve(Spec(method=Spec.LORA), SMALL).learning_rate == 1e-3


def test_several_workers_share_their_state_unless_told_otherwise():
    assert resolve(Spec(num_workers=2), SMALL).zero_stage == 2
    assert resolve(Spec(num_workers=2, zero_stage=0), SMALL).zero_stage == 0


def test_zero_is_a_value_where_the_field_is_optional():
    config = resolve(Spec(warmup_ratio=0, weight_decay=0, bf16=False), SMALL)
    assert (config.warmup_ratio, config.weight_decay, config.bf16) == (0, 0, False)


def test_adapters_scale_with_their_rank():
    config = resolve(Spec(method=Spec.LORA, r=8), SMALL)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.target_modules) == (8, 16, 0, ())


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (Spec(max_length=1024), "MAX_LENGTH_OVER_WINDOW"),
        (Spec(r=8), "LORA_FIELD_WITHOUT_LORA"),
        (Spec(max_steps=5, num_train_epochs=1), "STEPS_AND_EPOCHS"),
        (Spec(max_steps=5, max_tokens=1000), "TOKENS_AND_STEPS"),
        (Spec(num_train_epochs=5, max_tokens=1000), "TOKENS_AND_STEPS"),
        (Spec(use_dora=True), "LORA_FIELD_WITHOUT_LORA"),
        (Spec(offload_param="cpu", zero_stage=2), "OFFLOAD_WITHOUT_STAGE_3"),
        (Spec(method=Spec.LORA, load_in_4bit=True, zero_stage=3), "QUANTIZED_WITH_STAGE_3"),
        (Spec(deepspeed="{"), "DEEPSPEED_NOT_JSON"),
        (Spec(deepspeed="[]"), "DEEPSPEED_NOT_JSON"),
        (Spec(deepspeed='{"fp16": {}}'), "DEEPSPEED_KEY_OF_OURS"),
        (Spec(deepspeed='{"zero_optimization": {"stage": 1}}'), "DEEPSPEED_KEY_OF_OURS"),
        (Spec(evaluation={"eval_steps": 5}), "NOTHING_TO_EVALUATE"),
        (Spec(evaluation={"eval_ratio": 0.1, "datasets": ["projects/p/datasets/d"]}), "TWO_HELD_OUT_SETS"),
        (Spec(evaluation={"eval_ratio": 0.1, "metric_for_best_model": "acc"}), "METRIC_WITHOUT_DATA"),
        (Spec(learning_rate_search={}), "SEARCH_WITHOUT_EVALUATION"),
    ],
)
def test_conflicts_are_refused(spec, reason):
    with pytest.raises(Invalid) as caught:
        resolve(spec, SMALL)
    assert caught.value.reason == reason
    assert caught.value.field.startswith("training.")


@pytest.mark.parametrize(
    ("spec", "steps", "save"),
    [
        (Spec(), 300, 60),
        (Spec(max_steps=3), 3, 1),
        (Spec(max_steps=10, save_steps=50), 10, 10),
        (Spec(num_train_epochs=3), 15, 3),  # 3 * 20 rows / 4
        (Spec(num_train_epochs=3, num_workers=2, gradient_accumulation_steps=2), 4, 1),  # 60 / 16
    ],
)
def test_steps_and_checkpoints_follow_from_the_data(spec, steps, save):
    config = with_data(resolve(spec, SMALL), DATA.packed_row_count)
    assert (config.max_steps, config.save_steps) == (steps, save)


def test_steps_follow_from_tokens_where_they_are_asked_for():
    config = resolve(Spec(max_tokens=9000), SMALL)
    assert config.max_steps == 0
    complete = with_data(config, DATA.packed_row_count, nearest_steps=11)
    assert (complete.max_steps, complete.save_steps) == (11, 3)
    shown = to_proto(complete, Spec(max_tokens=9000))
    # Both would be refused if the shown spec were given back.
    assert (shown.max_steps, shown.max_tokens) == (0, 9000)
    assert resolve(shown, SMALL).max_tokens == 9000


@pytest.mark.parametrize("name", ["DOCUMENT", "SENTENCE", "CUMULATIVE"])
def test_splittings_are_shown_as_they_were_asked_for(name):
    config = with_data(resolve(Spec(splitting=name), SMALL), 20)
    assert config.splitting == name.lower()
    assert to_proto(config, Spec()).splitting == Spec.Splitting.Value(name)


def test_the_resolved_spec_is_shown_whole():
    spec = Spec(base_model="projects/p/models/b", method=Spec.LORA)
    spec.datasets.add(dataset="projects/p/datasets/d")
    shown = to_proto(with_data(resolve(spec, SMALL), 20), spec)
    assert shown.base_model == spec.base_model
    assert (shown.datasets[0].dataset, shown.datasets[0].weight) == ("projects/p/datasets/d", 1.0)
    assert (shown.max_steps, shown.max_length, shown.r, shown.lora_alpha) == (300, 256, 16, 32)
    assert list(shown.target_modules) == ["all-linear"]
    # Given back as a request, it means the same.
    assert resolve(Spec(**{f.name: v for f, v in shown.ListFields() if f.name != "target_modules"}), SMALL)


def test_tokens_are_expected_without_padding():
    config = with_data(resolve(Spec(max_steps=10), SMALL), DATA.packed_row_count)
    assert trained_tokens(config, DATA) == 10 * 4 * 256 * 0.8


def test_what_is_left_open_is_named_and_what_is_measured_follows_from_the_steps():
    config = with_data(resolve(Spec(max_steps=60, evaluation={"eval_ratio": 0.1}), SMALL), 20)
    assert (config.eval_steps, config.metric_for_best_model, config.load_best_model_at_end) == (
        12,
        "eval_loss",
        True,
    )
    assert set(config.open_fields) == {
        "zero_stage",
        "per_device_train_batch_size",
        "gradient_checkpointing",
        "offload_optimizer",
    }
    searched = resolve(Spec(max_steps=60, evaluation={"eval_ratio": 0.1}, learning_rate_search={}), SMALL)
    assert searched.learning_rates == (3.16e-4, 5.62e-4, 1e-3, 1.78e-3, 3.16e-3)
    assert with_data(searched, 20).search_steps == 20
