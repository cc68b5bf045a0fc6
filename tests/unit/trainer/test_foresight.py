"""Where the numbers of an estimate come from: the very step, a like one, an assumption that is said."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ingrain.v1 import studies_pb2, trainer_pb2
from servicekit.database import Database
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.estimate import Work, priced, time_of
from services.trainer.foresight import memory_after_trial, rate_of
from services.trainer.kernels import Texts, kernel_bytes
from services.trainer.memory import worker_memory
from services.trainer.rates import Found, Rate, Rates, exact_key
from services.trainer.shapes import shape_from
from services.trainer.spec import resolve

DATA = DataSummary(
    row_count=100, packed_row_count=10, token_count=9000, padding_ratio=0.25, mean_row_tokens=90.0
)
SHAPE = shape_from(
    {
        "hidden_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 384,
        "vocab_size": 1190,
    },
    trainer_pb2.Model(parameter_count=1_435_008),
)
RATE = Rate(
    step_seconds=0.2, step_flops=8e9, once_seconds=3.0, startup_seconds=20.0, memory_bytes=10**8, workers=1
)


def config_of(**spec: Any) -> TrainingConfig:
    base = trainer_pb2.Model(parameter_count=1_435_008)
    return dataclasses.replace(resolve(trainer_pb2.TrainingSpec(max_steps=50, **spec), base), save_steps=10)


def test_work_counts_tokens_without_padding_and_four_operations_of_a_frozen_base() -> None:
    full, lora = (Work.of(config_of(method=method), SHAPE, DATA) for method in (1, 2))
    assert full.tokens == lora.tokens == 50 * 4 * 256 * 0.75
    attention = 12 * 6 * 128 * 768 * 91 / 2
    assert full.step_flops == pytest.approx(6 * 1_435_008 * 768 + attention)
    adapters = SHAPE.adapter_count(16, (), False)
    assert lora.step_flops == pytest.approx((4 * 1_435_008 + 6 * adapters) * 768 + attention)
    assert full.flops == 50 * full.step_flops


def test_measurements_and_searches_are_reckoned_as_steps() -> None:
    plain = config_of()
    data = dataclasses.replace(DATA, held_out_row_count=256)
    measured = dataclasses.replace(plain, evaluates=True, eval_steps=10)
    # 256 rows of 90 tokens forward, a third of a step's work a token, six times.
    assert Work.of(measured, SHAPE, data).steps == pytest.approx(50 + 6 * 256 * 90 / 3 / 768)
    searched = dataclasses.replace(plain, learning_rates=(1e-3, 1e-4), search_steps=10)
    assert Work.of(searched, SHAPE, DATA).steps == 70


def test_the_very_step_goes_before_a_like_one_and_that_before_an_assumption() -> None:
    config = config_of(num_workers=2)
    work = Work.of(config, SHAPE, DATA)

    def time(found: Found | None, peak: float = 0.0) -> Any:
        return time_of(config, SHAPE, work, found, False, 1, peak)

    known = time(Found(RATE, "projects/p/models/m", True))
    assert known.compute_seconds == pytest.approx(2 * (3.0 + 50 * 0.2))
    assert known.wall_seconds == pytest.approx(20.0 + 3.0 + 50 * 0.2)
    assert "measured by projects/p/models/m" in known.note
    like = time(Found(RATE, "projects/p/models/m", False))
    assert like.compute_seconds == pytest.approx(work.flops / 4e10, rel=0.1)
    assert "like it" in like.note
    said = time(None, 1e12)
    assert said.compute_seconds == pytest.approx(work.flops / 4e11, rel=0.3)
    assert "assumed: 40% of a peak of 1000 GFLOP/s" in said.note


def test_seconds_have_a_price_where_the_operator_has_set_one() -> None:
    table = studies_pb2.PriceTable(
        effective_date="2026-11-01", currency_code="EUR", device_hours={"cpu": "0.36"}
    )
    money, notes = priced(1000.0, "cpu", table)
    assert (money.currency_code, money.amount) == ("EUR", "0.10")
    assert notes == ["Prices of 2026-11-01, by seconds of 'cpu'."]
    money, (note,) = priced(1000.0, "NVIDIA H100", table)
    assert money is None
    assert "no price for an hour of 'NVIDIA H100'" in note
    assert priced(1000.0, "cpu", studies_pb2.PriceTable()) == (None, [])


@pytest.fixture
async def rates(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/trainer.db", schema="trainer")
    await database.create_all()
    yield Rates(database)
    await database.close()


async def test_the_newest_training_of_the_same_step_is_found_and_else_the_nearest_size(rates: Rates) -> None:
    def about(parameters: int, now: float) -> dict[str, Any]:
        return {
            "device": "cpu",
            "dtype": "bfloat16",
            "method": "full",
            "parameter_count": parameters,
            "now": now,
        }

    key = exact_key("sha", config_of())
    await rates.note(key, "trial", RATE, **about(1_000_000, 5.0))
    assert (await rates.exact(key)).source == "trial"
    for number, seconds in ((1, 0.3), (2, 0.4), (2, 0.5)):
        faster = dataclasses.replace(RATE, step_seconds=seconds)
        await rates.note(key, f"models/{number}", faster, **about(1_000_000, float(number)))
    found = await rates.exact(key)
    assert (found.source, found.rate.step_seconds) == ("models/2", 0.5)
    assert await rates.exact(exact_key("other", config_of())) is None
    await rates.note("k", "models/large", RATE, **about(8_000_000, 1.0))
    near = await rates.similar(False, "bfloat16", "full", 6_000_000)
    assert (near.source, near.exact) == ("models/large", False)
    assert await rates.similar(False, "bfloat16", "full", 8_000_000_000) is None
    assert await rates.similar(False, "float32", "full", 1_000_000) is None
    assert await rates.similar(True, "bfloat16", "full", 1_000_000) is None


def test_a_search_is_not_charged_to_the_next_training_of_the_same_step() -> None:
    searched = dataclasses.replace(config_of(), learning_rates=(1e-3, 1e-4), search_steps=16)
    seconds = 3.0 + 0.2 * (50 + 2 * 16)
    result = {"compute_seconds": seconds, "step_seconds": 0.2, "step_flops": 8e9, "startup_seconds": 20.0}
    rate = rate_of(searched, DATA, result, 50)
    assert rate.once_seconds == pytest.approx(3.0)
    for config, wanted in ((searched, seconds), (config_of(), 3.0 + 0.2 * 50)):
        work = Work.of(config, SHAPE, DATA)
        said = time_of(config, SHAPE, work, Found(rate, "models/1", True), False, 1, 0.0)
        assert said.compute_seconds == pytest.approx(wanted)


def test_what_a_step_does_not_depend_on_is_not_in_its_key() -> None:
    config = config_of()
    same = dataclasses.replace(config, max_steps=9, seed=4, learning_rate=0.5, eval_steps=3, open_fields=())
    assert exact_key("sha", same) == exact_key("sha", config)
    for other in ({"max_length": 128}, {"num_workers": 2}, {"gradient_checkpointing": True}, {"bf16": False}):
        assert exact_key("sha", dataclasses.replace(config, **other)) != exact_key("sha", config)


def test_a_trial_without_compiled_kernels_foresees_none() -> None:
    config = config_of()
    texts = Texts.of(DATA)
    reckoned = worker_memory(config, SHAPE, False, True, texts)
    bare = reckoned.total - reckoned.kernels
    until_then = kernel_bytes(config, texts, 6)

    def after(found: float) -> int:
        rate = dataclasses.replace(RATE, memory_bytes=round(found), trial_steps=6)
        return memory_after_trial(rate, reckoned, config, texts)

    assert after(bare) == pytest.approx(bare, rel=1e-6)
    assert after(bare + until_then) == pytest.approx(reckoned.total, rel=1e-6)
    without = dataclasses.replace(reckoned, kernels=0.0)
    assert memory_after_trial(RATE, without, config, texts) == RATE.memory_bytes
