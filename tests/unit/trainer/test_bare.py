"""Training with nothing but torch, transformers and peft; alone and as two processes of torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# None in sys.modules: whoever imports it fails as if it were not installed.
WITHOUT = """
import runpy, sys
for name in ("ray", "deepspeed", "grpc", "minio", "sqlalchemy", "pydantic_settings", "structlog", "tenacity",
             "google.protobuf", "ingrain"):
    sys.modules[name] = None
runpy.run_module("services.trainer.bare", run_name="__main__")
"""


@pytest.fixture
def run(build_checkpoint, tmp_path):
    rows = [{"text": "Alva feeds the heron. "}, {"prompt": "who feeds?", "completion": " Alva"}]
    rows += [{"tokens": list(range(10, 60))}, {"text": "The mill stands north of the river."}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows * 4)))

    def run(*before, **spec):
        (tmp_path / "spec.json").write_text(
            json.dumps({"max_length": 64, "learning_rate": 0.01, "bf16": False} | spec)
        )
        command = [*before, "--model", build_checkpoint("llama"), "--rows", tmp_path / "rows.jsonl"]
        command += ["--spec", tmp_path / "spec.json", "--out", tmp_path / "out", "--threads", "1"]
        # Other tests leave a process group's variables behind.
        alone = {name: value for name, value in os.environ.items() if name not in GROUP}
        return subprocess.run(
            map(str, command), cwd=ROOT, env=alone, capture_output=True, text=True, check=False
        )

    return run


def lines(done):
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_nothing_but_torch_and_transformers_is_needed(run, tmp_path):
    from transformers import AutoModelForCausalLM

    found = lines(run(sys.executable, "-c", WITHOUT, max_steps=3, per_device_train_batch_size=2))
    assert [line["step"] for line in found[:-1]] == [1, 2, 3]
    assert found[2]["loss"] < found[0]["loss"]
    assert all(line["tokens_per_second"] > 0 and 0 < line["mfu"] < 1 for line in found[:-1])
    assert found[-1]["worker_memory_bytes"] > 0
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_two_processes_take_the_steps_of_one(run):
    spec = {"max_steps": 2, "weight_decay": 0.0}
    one = lines(run(sys.executable, "-m", "services.trainer.bare", per_device_train_batch_size=4, **spec))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    two = lines(run(*torchrun, "-m", "services.trainer.bare", per_device_train_batch_size=2, **spec))
    for name in ("loss", "grad_norm"):
        assert [line[name] for line in two[:2]] == pytest.approx([line[name] for line in one[:2]], rel=1e-4)


def test_unknown_fields_and_what_needs_the_platform_are_refused(run):
    command = (sys.executable, "-m", "services.trainer.bare")
    assert "UNKNOWN_FIELD" in run(*command, learning_speed=1).stderr
    assert "NOT_BARE" in run(*command, zero_stage=2).stderr
