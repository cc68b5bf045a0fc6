"""DeepSpeed's configuration, what is refused, and that the plain engine takes DeepSpeed's steps."""

import json
import os
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from ingrain.v1 import trainer_pb2
from services.trainer.data import TrainingRows
from services.trainer.engine import CannotTrain, load_model, new_engine
from services.trainer.loading import refuse_missing
from services.trainer.packing import TokenSequence, pack
from services.trainer.plain_engine import PlainEngine
from services.trainer.spec import resolve, with_data
from services.trainer.step import train_step

LORA = trainer_pb2.TrainingSpec.LORA


def config_of(**spec):
    base = trainer_pb2.Model(parameter_count=30_000, context_window=256)
    spec = {"max_steps": 3, "max_length": 64, "learning_rate": 0.01, "bf16": False} | spec
    return with_data(resolve(trainer_pb2.TrainingSpec(**spec), base), 10)


def rows(config):
    generator = torch.Generator().manual_seed(3)
    sequences = [
        TokenSequence(t := torch.randint(6, 380, (n,), generator=generator).tolist(), t)
        for n in (20, 31, 9, 44, 60, 17, 25, 12)
    ]
    return TrainingRows(dict(vars(pack(sequences, 64, config.seed, 0))), config)


def run(engine, config, steps=(1, 2, 3)):
    data = rows(config)
    return [
        train_step(engine, data.batches(step, 0, engine.device), data.target_count(step), 0.01)
        for step in steps
    ]


@pytest.fixture(scope="module", autouse=True)
def process_group():
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", DS_ACCELERATOR="cpu")
    if dist.is_initialized():  # by another file's tests, for all of them
        yield
        return
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def plain(build_checkpoint):
    """Losses and norms of the plain engine."""

    def steps(**spec):
        config = config_of(**spec)
        torch.manual_seed(0)
        model = load_model(build_checkpoint("llama"), config)
        return run(PlainEngine(model, config, torch.device("cpu"), False), config)

    return steps


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
        {"max_grad_norm": 0.1},
        {"zero_stage": 1},
        {"zero_stage": 2, "offload_optimizer": "cpu"},
        {"zero_stage": 3},
        {"zero_stage": 3, "method": LORA, "r": 4, "target_modules": ["q_proj", "lm_head"]},
        {"method": LORA, "r": 4, "use_rslora": True},
        {"zero_stage": 2, "method": LORA, "r": 4, "use_dora": True},
        {"gradient_checkpointing": True, "zero_stage": 3},
    ],
    ids=str,
)
def test_deepspeed_takes_the_plain_steps(build_checkpoint, plain, spec):
    config = config_of(**spec)
    torch.manual_seed(0)
    engine = new_engine(load_model(build_checkpoint("llama"), config), config)
    assert engine.zero_optimization_stage() == config.zero_stage
    found = run(engine, config)
    expected = plain(
        **{name: value for name, value in spec.items() if "zero" not in name and "off" not in name}
    )
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    assert [norm for _, norm in found] == pytest.approx([norm for _, norm in expected], rel=1e-4)
    assert found[0][0] != found[-1][0]


def test_a_plain_checkpoint_goes_on(build_checkpoint, tmp_path):
    config = config_of()
    whole, again = (
        PlainEngine(load_model(build_checkpoint("llama"), config), config, torch.device("cpu"), False)
        for _ in range(2)
    )
    run(whole, config, (1, 2))
    whole.save_checkpoint(str(tmp_path), tag="state")
    again.load_checkpoint(str(tmp_path), tag="state")
    assert run(again, config, (3,)) == run(whole, config, (3,))


def test_the_callers_json_lies_over_the_platforms():
    from services.trainer.engine import deepspeed_config

    given = {
        "zero_optimization": {"overlap_comm": False, "reduce_bucket_size": 7},
        "comms_logger": {"enabled": True},
    }
    made = deepspeed_config(config_of(zero_stage=2, deepspeed=json.dumps(given)), 1000)
    assert made["zero_optimization"] == {
        "stage": 2,
        "overlap_comm": False,
        "reduce_bucket_size": 7,
        "allgather_bucket_size": 1000,
    }
    assert made["comms_logger"] == {"enabled": True}
    assert made["gradient_clipping"] == 1.0


def test_offloading_is_partitioned_and_needs_no_compiler():
    from services.trainer.engine import deepspeed_config

    made = deepspeed_config(config_of(offload_optimizer="cpu"), 1000)
    assert made["zero_optimization"]["stage"] == 1
    assert made["zero_force_ds_cpu_optimizer"] is False
    made = deepspeed_config(config_of(offload_param="cpu", zero_stage=3), 1000)
    assert made["zero_optimization"]["offload_param"]["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("load_in_4bit", True),
        ("torch_compile", True),
        ("use_liger_kernel", True),
        ("attn_implementation", "flash_attention_2"),
    ],
)
def test_what_needs_a_gpu_is_refused_without(name, value):
    with pytest.raises(CannotTrain, match=f"{name}.*GPU") as refused:
        refuse_missing(replace(config_of(method=LORA), **{name: value}))
    assert refused.value.reason == "NO_GPU"


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(CannotTrain, match="bitsandbytes"):
        refuse_missing(replace(config_of(method=LORA), load_in_4bit=True))
