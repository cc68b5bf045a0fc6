"""A training goes on with another number of workers: the same rows in each step, ZeRO's parts dealt out anew by universal checkpoints.

The tolerance is stated in docs/training.md: only the order of float32 sums differs.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from ingrain.v1 import trainer_pb2
from services.trainer.prepare import PrepareTask, prepare

pytestmark = pytest.mark.usefixtures("process_group")
PLAIN = {"bf16": False, "learning_rate": 0.01, "seed": 3, "max_steps": 8, "save_steps": 4}
TOLERANCE = 1e-5  # of a loss, relative


def spread(workers, **spec):
    return {"num_workers": workers, "per_device_train_batch_size": 4 // workers, **PLAIN, **spec}


@pytest.fixture
def two(tmp_path, fit):
    """two(fit, jobs) -> each job's losses and checkpoints by step."""
    script = Path(__file__).with_name("two_workers.py")
    log = (tmp_path / "workers.log").open("w")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
    with log, subprocess.Popen([sys.executable, str(script)], text=True, **pipes) as process:

        def run(one, *jobs):
            paths = [one.root / f"{job.prefix.rsplit('/', 1)[-1]}.json" for job in jobs]
            for path, job in zip(paths, jobs, strict=True):
                path.write_text(json.dumps(asdict(job)))
            process.stdin.write(" ".join(map(str, paths)) + "\n")
            process.stdin.flush()
            while (said := process.stdout.readline().strip()) not in ("done", "failed", ""):
                pass
            assert said == "done", (tmp_path / "workers.log").read_text()[-3000:]
            return [(losses(one.lines(job)), checkpoints_of(one.lines(job))) for job in jobs]

        yield run
        process.stdin.close()


def on_one(one, job):
    _, lines, _ = one.run(job)
    return losses(lines), checkpoints_of(lines)


def losses(lines):
    return {line["step"]: line["loss"] for line in lines if "step" in line}


def checkpoints_of(lines):
    return {line["checkpoint"]["step"]: line["checkpoint"] for line in lines if "checkpoint" in line}


def test_another_number_of_workers_goes_on_within_the_tolerance(fit, two, build_checkpoint):
    """Stage 2 from two to one and from one to two, stage 3 with adapters from two to one."""
    one = fit(build_checkpoint("llama"))
    lora = {"method": trainer_pb2.TrainingSpec.LORA, "r": 4, "zero_stage": 3}
    (whole, kept), (adapted, adapter) = two(
        one, one.job(1, **spread(2, zero_stage=2)), one.job(2, **spread(2, **lora))
    )
    assert (kept[4]["world"], len(kept[4]["files"])) == (2, 3)
    alone, kept_alone = on_one(one, one.job(3, **spread(1, zero_stage=2)))
    pairs = [
        (whole, on_one(one, one.job(4, checkpoint=kept[4], **spread(1, zero_stage=2)))[0]),
        (adapted, on_one(one, one.job(5, checkpoint=adapter[4], **spread(1, **lora)))[0]),
        (alone, two(one, one.job(6, checkpoint=kept_alone[4], **spread(2, zero_stage=2)))[0][0]),
    ]
    for expected, found in pairs:
        assert sorted(found) == [5, 6, 7, 8]
        differences = [abs(found[step] / expected[step] - 1) for step in found]
        print("largest relative difference of a loss:", max(differences))
        assert max(differences) < TOLERANCE
    assert not list((one.root / "scratch" / "load").rglob("*.pt"))


def test_workers_learn_from_one_teacher(fit, two, build_checkpoint, tmp_path):
    """They share the reading of the rows behind the documents, and exchange what the teacher says of them."""
    checkpoint = build_checkpoint("llama")
    rows = [{"prompt": f"who feeds heron {n}?", "completion": f"Alva {n} does"} for n in range(24)]
    for name, content in {"rows": rows, "documents": [{"text": "Alva feeds the heron."}] * 9}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (tmp_path / "tokenizer").symlink_to(checkpoint)
    datasets = (("d", 1.0, "rows.jsonl"), ("e", 1.5, "rows.jsonl"))
    task = PrepareTask(datasets, "tokenizer", "document", False, 64, 1, documents="documents.jsonl")
    arrays, _ = prepare(tmp_path, task)
    one = fit(checkpoint)
    taught = {"arrays": arrays, "distillation": {"dataset": "projects/p/datasets/d"}}
    lora = {"method": trainer_pb2.TrainingSpec.LORA, "r": 4}
    jobs = [one.job(7, **taught, **spread(2, zero_stage=2)), one.job(8, **taught, **spread(2, **lora))]
    (full, _), (adapted, _) = two(one, *jobs)
    alone, kept = on_one(one, one.job(9, **taught, **spread(1)))
    resumed, _ = on_one(one, one.job(10, checkpoint=kept[4], **taught, **spread(1)))
    assert resumed == {step: loss for step, loss in alone.items() if step > 4}
    assert [full[step] for step in alone] == pytest.approx(list(alone.values()), rel=TOLERANCE)
    assert adapted[1] == pytest.approx(alone[1], rel=TOLERANCE), "before the first step adapters do nothing"
    assert alone[8] < alone[1] / 2
