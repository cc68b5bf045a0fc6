"""What is chosen when memory is short, with numbers that people know: 80 GB GPUs, models of 1B and 8B."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid
from services.trainer.fitting import Fitted, candidates, fitted
from services.trainer.machine import Machine, machine_of
from services.trainer.memory import worker_memory
from services.trainer.settings import TrainerSettings
from services.trainer.shapes import Shape, shape_from
from services.trainer.spec import resolve

OVERLAY = Path(__file__).parents[3] / "deploy" / "k8s" / "overlays" / "gpu"
GB = 10**9
H100 = Machine(memory_bytes=1000 * GB, gpu_bytes=80 * GB)
LAPTOP = Machine(memory_bytes=24 * GB, bf16_cpu=True)


def llama(
    parameters: float, layers: int, width: int, inner: int, heads: int, pairs: int, vocabulary: int
) -> Shape:
    config = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": pairs,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": parameters < 2e9,
    }
    return shape_from(config, trainer_pb2.Model(parameter_count=int(parameters)))


SMALL = llama(1.4e6, 6, 128, 384, 4, 4, 1190)
ONE = llama(1.24e9, 16, 2048, 8192, 32, 8, 128_256)
EIGHT = llama(8.03e9, 32, 4096, 14_336, 32, 8, 128_256)
SEVENTY = llama(70.6e9, 80, 8192, 28_672, 64, 8, 128_256)


def fit(shape: Shape, machine: Machine, **spec: Any) -> Fitted:
    base = trainer_pb2.Model(parameter_count=shape.parameter_count, context_window=8192)
    return fitted(resolve(trainer_pb2.TrainingSpec(**spec), base), shape, machine)


def test_shapes_are_read_from_any_architecture() -> None:
    assert EIGHT.linear_count == pytest.approx(6.98e9, rel=0.01)
    assert (EIGHT.inner_matrices, EIGHT.key_value_size, EIGHT.tied) == (3, 1024, False)
    assert EIGHT.adapter_count(16, (), dora=False) == 41_943_040
    assert EIGHT.adapter_count(16, ("q_proj", "v_proj"), dora=False) == 6_815_744
    gpt2 = shape_from(
        {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50_257, "n_inner": None},
        trainer_pb2.Model(parameter_count=124_439_808),
    )
    assert (gpt2.inner_size, gpt2.inner_matrices, gpt2.query_size) == (3072, 2, 768)


def test_a_small_model_keeps_the_defaults() -> None:
    base = trainer_pb2.Model(parameter_count=SMALL.parameter_count)
    for spec in ({}, {"num_workers": 2}, {"method": trainer_pb2.TrainingSpec.LORA}):
        asked = resolve(trainer_pb2.TrainingSpec(**spec), base)
        found = fitted(asked, SMALL, LAPTOP)
        assert found.config == asked
        assert "it fits" in found.notes[0]
        assert len(found.notes) == 1


def test_a_model_of_1b_fits_on_one_gpu_of_80_gb() -> None:
    found = fit(ONE, H100, max_length=4096)
    assert found.memory.weights + found.memory.gradients + found.memory.moments == pytest.approx(16 * 1.24e9)
    assert found.config.offload_optimizer == "none"
    assert found.memory.total < 78.8 * GB


def test_a_model_of_8b_needs_its_optimizer_offloaded_on_one_gpu_of_80_gb() -> None:
    found = fit(EIGHT, H100, max_length=512)
    assert found.config.offload_optimizer == "cpu"
    assert found.config.zero_stage == 2
    assert found.memory.host > 64 * GB
    assert "the optimizer's state in the machine's memory" in found.notes[1]
    with pytest.raises(Invalid) as caught:
        fit(EIGHT, H100, max_length=512, offload_optimizer="none")
    assert caught.value.reason == "TRAINING_DOES_NOT_FIT"
    assert "method LORA" in caught.value.message
    assert "use more workers" in caught.value.message


def test_a_model_of_8b_is_partitioned_over_four_gpus_before_it_is_offloaded() -> None:
    found = fit(EIGHT, H100, max_length=4096, num_workers=4)
    assert (found.config.zero_stage, found.config.offload_optimizer) == (3, "none")
    assert found.config.rows_per_step == 16


def test_adapters_of_8b_in_4_bits_fit_where_the_base_in_float32_does_not() -> None:
    consumer = Machine(memory_bytes=64 * GB, gpu_bytes=24 * GB)
    lora: dict[str, Any] = {"method": trainer_pb2.TrainingSpec.LORA, "max_length": 512}
    with pytest.raises(Invalid, match="load_in_4bit"):
        fit(EIGHT, consumer, **lora)
    assert fit(EIGHT, consumer, load_in_4bit=True, **lora).memory.total < 23 * GB


def test_smaller_micro_batches_come_before_gradient_checkpointing_and_steps_stay_as_large() -> None:
    needed = fit(ONE, H100, max_length=4096)
    asked = dataclasses.replace(needed.config, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    found = {}
    for batch in (4, 2, 1):
        part = dataclasses.replace(asked, per_device_train_batch_size=batch)
        found[batch] = worker_memory(part, ONE, True, True).total
    assert found[1] < found[2] < found[4]
    two = fitted(asked, ONE, dataclasses.replace(H100, given_bytes=found[2] + 1))
    assert (two.config.per_device_train_batch_size, two.config.gradient_accumulation_steps) == (2, 2)
    assert not two.config.gradient_checkpointing
    none = fitted(asked, ONE, dataclasses.replace(H100, given_bytes=found[1] - 1))
    assert none.config.gradient_checkpointing
    assert none.config.rows_per_step == asked.rows_per_step
    assert "gradient checkpointing" in none.notes[1]


def test_what_the_caller_set_is_never_changed() -> None:
    base = trainer_pb2.Model(parameter_count=ONE.parameter_count, context_window=8192)
    spec = trainer_pb2.TrainingSpec(
        per_device_train_batch_size=8,
        gradient_checkpointing=False,
        zero_stage=1,
        num_workers=4,
        offload_optimizer="none",
    )
    asked = resolve(spec, base)
    assert list(candidates(asked, gpu=True)) == [asked]


def test_on_a_processor_nothing_is_offloaded_and_workers_share_the_machine() -> None:
    assert all(one.offload_optimizer == "none" for one in candidates(fit(ONE, H100).config, gpu=False))
    assert LAPTOP.worker_bytes(1) > 2 * LAPTOP.worker_bytes(2)
    with pytest.raises(Invalid, match="its share of 80% of the machine's memory"):
        fit(EIGHT, LAPTOP)
    with pytest.raises(Invalid, match=r"A worker has nothing .* is 19.2 MB, and its imports take 944 MB"):
        fit(SMALL, LAPTOP, num_workers=1000)
    with pytest.raises(
        Invalid, match=r"A worker has nothing \(the GPU's memory is 1 GB, and CUDA itself takes 1.26 GB"
    ):
        fit(SMALL, dataclasses.replace(H100, gpu_bytes=GB))
    with pytest.raises(Invalid, match=r"A worker has 20 kB \(by INGRAIN_WORKER_MEMORY_BYTES"):
        fit(SMALL, dataclasses.replace(LAPTOP, given_bytes=20_000))
    assert fit(EIGHT, dataclasses.replace(LAPTOP, given_bytes=200 * GB)).memory.total < 200 * GB


def test_with_a_template_it_is_its_nodes_that_must_hold_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the overlay's environment; this process has no GPU, and another machine's memory."""
    (container,) = yaml.safe_load((OVERLAY / "trainer.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ]
    for variable in container["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    node = machine_of(TrainerSettings(ray_job_template=OVERLAY / "rayjob.yaml"))
    assert node.gpu
    assert node.memory_bytes == 128 << 30
    for workers in (4, 8):
        assert fit(EIGHT, node, max_length=4096, num_workers=workers).config.offload_optimizer == "none"
    assert fit(EIGHT, node, max_length=512, num_workers=2).config.offload_optimizer == "cpu"
    assert node.host_bytes(1) == node.host_bytes(8), "each has a node of its own"
    with pytest.raises(Invalid) as caught:
        fit(SEVENTY, node, max_length=512)
    assert caught.value.reason == "TRAINING_DOES_NOT_FIT"
    assert node.bf16(resolve(trainer_pb2.TrainingSpec(), trainer_pb2.Model()))


def test_workers_share_a_node_of_several_gpus_that_nobody_has_seen(tmp_path: Path) -> None:
    template = yaml.safe_load((OVERLAY / "rayjob.yaml").read_text())
    (group,) = template["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = 4
    (path := tmp_path / "rayjob.yaml").write_text(yaml.safe_dump(template))
    node = machine_of(TrainerSettings(ray_job_template=path))
    assert node.host_bytes(4) == node.host_bytes(8) < node.host_bytes(1) / 4
    assert 83 * GB < node.worker_bytes(8) < 85 * GB
    with pytest.raises(Invalid, match="what a GPU is taken to have until INGRAIN_WORKER_MEMORY_BYTES"):
        fit(SEVENTY, node)
