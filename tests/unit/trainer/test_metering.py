"""Rates, utilisation and memory, with numbers."""

import os
from pathlib import Path

import pytest
import torch

from servicekit.costs import training_flops
from services.trainer import metering
from services.trainer.metering import Meter, ModelFlops

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("process_group")


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    monkeypatch.setattr(metering, "peak_gemm_flops", lambda *_: 1e9)
    meter = Meter(CPU, 1, bf16=False)
    meter.flops = ModelFlops(parameter_count=1000, adapter_parameter_count=0, layer_count=2, hidden_size=10)
    return meter


def test_operations_are_six_a_parameter_and_four_where_the_base_is_frozen() -> None:
    full = ModelFlops(1000, 0, 2, 10)
    assert full.of_step(100, 300) == 6 * 1000 * 100 + 12 * 2 * 10 * 300
    adapters = ModelFlops(1000, 50, 2, 10)
    assert adapters.of_step(100, 300) == (4 * 1000 + 6 * 50) * 100 + 12 * 2 * 10 * 300
    # Rows of 5 tokens look at 1 + 2 + 3 + 4 + 5 positions.
    assert training_flops(1000, 2, 10, 100, 5) == full.of_step(100, 300)


def test_utilisation_is_of_the_last_steps_without_the_first_one(meter: Meter) -> None:
    first = meter.step(100.0, 100, 300, 9)
    assert first["remaining_s"] == 900.0
    meter.begin_step()
    second = meter.step(0.01, 100, 300, 8)
    assert second["tokens_per_second"] == pytest.approx(10_000)
    assert second["remaining_s"] == pytest.approx(0.08)
    assert second["mfu"] == pytest.approx((6 * 1000 * 100 + 72_000) / (0.01 * 1e9))
    for _ in range(metering.LAST_STEPS):
        last = meter.step(0.02, 100, 300, 5)
    assert last["tokens_per_second"] == pytest.approx(5000), "the faster step is forgotten"
    found = meter.result()
    assert found["step_flops"] == pytest.approx(672_000)
    assert 0 < found["mfu"] < second["mfu"]


def test_the_peak_of_a_processor_is_measured_once() -> None:
    peak = metering.peak_gemm_flops("cpu", False)
    assert 1e9 < peak < 1e13
    assert metering.peak_gemm_flops("cpu", False) == peak


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc")
def test_memory_counts_from_where_the_meter_began(meter: Meter) -> None:
    before = meter.memory_bytes()
    block = bytearray(os.urandom(1)) * (64 << 20)
    del block
    assert 60 << 20 < meter.memory_bytes() - before < 80 << 20
