"""Why a training died and what to do: what the kernel and Ray say, what is advised."""

import dataclasses
from pathlib import Path

import pytest
import torch

from ingrain.v1 import trainer_pb2
from services.trainer import deaths
from services.trainer.failures import told
from services.trainer.spec import resolve

CONFIG = resolve(trainer_pb2.TrainingSpec(num_workers=2), trainer_pb2.Model())


def test_the_kernels_kills_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deaths.oom_kills() >= 0
    monkeypatch.setattr(deaths, "VMSTAT", tmp_path / "vmstat")
    assert not deaths.died_of_memory(RuntimeError("worker died"), 0)
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 3\n")
    assert deaths.died_of_memory(RuntimeError("worker died"), 2)
    assert not deaths.died_of_memory(RuntimeError("worker died"), 3)
    assert deaths.died_of_memory(RuntimeError("Task was killed due to the node running low on memory."), 3)


def test_only_what_would_help_is_advised() -> None:
    advice = deaths.memory_advice(CONFIG, gpu=False)
    assert "lower per_device_train_batch_size (now 4)" in advice
    assert "raise zero_stage (now 2)" in advice
    assert "offload_optimizer" not in advice
    least = {
        "per_device_train_batch_size": 1,
        "gradient_checkpointing": True,
        "zero_stage": 3,
        "method": "lora",
    }
    small = dataclasses.replace(CONFIG, **least)
    assert deaths.memory_advice(small, gpu=False) == "Train on a machine with more memory."


def test_torchs_allocator_that_finds_no_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    found = told(caught.value, CONFIG)
    assert found is not None
    assert (found["reason"], found["permanent"]) == ("OUT_OF_MEMORY", False)
    assert told(torch.OutOfMemoryError("CUDA out of memory."), CONFIG) == found
    assert told(RuntimeError("shapes differ"), CONFIG) is None
