"""Checkpoints beside the training, and what may go wrong with them: slow and absent storage, full disks, ends before the last step."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from servicekit.folder import FolderStorage
from services.trainer import checkpoints, exchange, files, saving, scratch
from services.trainer.failures import Interrupted
from services.trainer.loop import loop
from services.trainer.progress import ProgressReader, ProgressWriter
from services.trainer.saving import Saver, State
from services.trainer.settings import TrainerSettings
from tools.platform import free_port, stop, wait_for_port

pytestmark = pytest.mark.usefixtures("process_group")
PLAIN = {"bf16": False, "learning_rate": 0.01, "seed": 3}
CALM = {**PLAIN, "lr_scheduler_type": "constant", "warmup_ratio": 0.0}


@pytest.fixture
def one(fit, build_checkpoint):
    return fit(build_checkpoint("llama"))


def steps_of(lines):
    return [line for line in lines if "step" in line]


def checkpoints_of(lines):
    return {line["checkpoint"]["step"]: line["checkpoint"] for line in lines if "checkpoint" in line}


class Held(FolderStorage):
    """Takes no file of a checkpoint before it is let go."""

    def __init__(self, folder):
        super().__init__(folder)
        self.free = threading.Event()

    async def put_file(self, key, path):
        if "/checkpoints/" in key:
            assert await asyncio.to_thread(self.free.wait, 60)
        return await super().put_file(key, path)


def test_no_step_waits_for_storage(one, monkeypatch):
    """Storage takes nothing until the last step: all steps are done, one checkpoint waits, and the last one is kept."""
    from services.trainer import loop as room
    from services.trainer import steps

    storage = Held(one.storage.folder)
    take_step = steps.take_step

    def taking(engine, data, config, step):
        if step == 30:
            storage.free.set()
        return take_step(engine, data, config, step)

    monkeypatch.setattr(room, "open_storage", lambda _: storage)
    monkeypatch.setattr(steps, "take_step", taking)
    _, lines, _ = one.run(one.job(1, max_steps=30, save_steps=1, **PLAIN))
    assert len(steps_of(lines)) == 30
    assert list(checkpoints_of(lines)) == [1, 30], "those that were due while one was on its way are left out"
    for checkpoint in checkpoints_of(lines).values():
        whole = checkpoints.Checkpoint(**checkpoint)
        asyncio.run(checkpoints.download(one.storage, whole, one.root / f"again-{whole.step}"))
    assert not list((one.root / "scratch" / saving.KIND).rglob("*.pt"))


class Engine:
    """What a saver asks of an engine, with one file for a state."""

    device = "cpu"

    def __init__(self):
        import torch

        self.module = torch.nn.Linear(2, 2)

    def zero_optimization_stage(self):
        return 1

    def save_checkpoint(self, folder, tag, exclude_frozen_parameters):
        (Path(folder) / tag).mkdir()
        (Path(folder) / tag / "zero_pp_rank_0.pt").write_bytes(b"first worker's")


def test_a_checkpoint_is_reported_when_every_workers_files_are_there(one):
    job = one.job(1, max_steps=2, **PLAIN)
    writer = ProgressWriter(one.storage, job.prefix)
    saver = Saver(Engine(), one.storage, job, writer, TrainerSettings())
    saver.world = 2  # the other worker is this test
    key = exchange.checkpoint_key(job.prefix, 1)

    def reported():
        writer.flush()
        return checkpoints_of(asyncio.run(ProgressReader(one.storage, job.prefix).read()))

    with saver.open():
        saver.save(State(1, 10, 2.0, 1.0, False, None))
        while asyncio.run(one.storage.stat(f"{key}/state/zero_pp_rank_0.pt")) is None:
            time.sleep(0.02)
        other = asyncio.run(one.storage.put(f"{key}/state/zero_pp_rank_1.pt", b"second worker's"))
        time.sleep(0.5)
        assert reported() == {}
        assert saver.pending == 1
        file = asdict(files.ModelFile("state/zero_pp_rank_1.pt", other.size_bytes, other.sha256))
        asyncio.run(exchange.put_json(one.storage, saving.part_key(key, 1), {"files": [file]}))
    found = reported()[1]
    assert [file["name"] for file in found["files"]] == ["state/zero_pp_rank_0.pt", "state/zero_pp_rank_1.pt"]
    assert (found["world"], found["tokens"], found["loss"]) == (2, 10, 2.0)


class Rclone:
    """An S3 server that can be killed and started again on the same data."""

    def __init__(self, folder):
        self.folder, self.port, self.secret = folder, free_port(), secrets.token_hex(16)
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "rclone"), "serve", "s3", str(self.folder), "--addr", f"127.0.0.1:{self.port}"],
            env=os.environ | {"RCLONE_AUTH_KEY": f'"key,{self.secret}"'},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        wait_for_port(self.port, 30)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def rclone(tmp_path, monkeypatch):
    (tmp_path / "s3").mkdir()
    server = Rclone(tmp_path / "s3")
    server.start()
    variables = {
        "STORAGE": "s3://bucket/p",
        "S3_ENDPOINT": f"127.0.0.1:{server.port}",
        "S3_ACCESS_KEY": "key",
    }
    for name, value in {**variables, "S3_SECRET_KEY": server.secret, "S3_SECURE": "false"}.items():
        monkeypatch.setenv(f"INGRAIN_{name}", value)
    yield server
    stop(server.process, 10)


def test_a_storage_that_is_away_costs_no_step_and_no_checkpoint(fit, rclone, build_checkpoint, monkeypatch):
    """A real S3 server is killed in the middle and comes back after the last step."""
    from services.trainer import steps

    monkeypatch.setenv("INGRAIN_STORAGE", "s3://bucket/p")
    one = fit(build_checkpoint("llama"))
    monkeypatch.setenv("INGRAIN_STORAGE", "s3://bucket/p")
    take_step = steps.take_step

    def taking(engine, data, config, step):
        if step == 4:
            rclone.kill()
        if step == 20:
            threading.Timer(1.0, rclone.start).start()
        time.sleep(0.05)
        return take_step(engine, data, config, step)

    monkeypatch.setattr(steps, "take_step", taking)
    job = one.job(1, max_steps=20, save_steps=5, **PLAIN)
    result, lines, _ = one.run(job)
    assert [line["step"] for line in steps_of(lines)] == list(range(1, 21))
    kept = checkpoints_of(lines)
    assert list(kept)[-1] == 20
    last = checkpoints.Checkpoint(**kept[20])
    asyncio.run(checkpoints.download(one.storage, last, one.root / "again"))
    assert result["loss"] == steps_of(lines)[-1]["loss"]


@pytest.fixture
def small_disk(tmp_path):
    """2 MiB that are really all; only root may mount."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_without_room_for_checkpoints_the_training_goes_on_and_says_so(fit, build_checkpoint, small_disk):
    one = fit(build_checkpoint("llama"))
    filler = small_disk / "filler"
    asyncio.run(
        files.fetch(
            one.storage, "projects/p/models/base/import-1/model", small_disk / "models" / one.base_sha256
        )
    )
    filler.write_bytes(bytes(max(0, scratch.bytes_free(small_disk) - 300_000)))
    result, lines, _ = one.run(one.job(1, max_steps=4, save_steps=2, **PLAIN))
    assert len(steps_of(lines)) == 4
    assert checkpoints_of(lines) == {}
    warnings = [line["warning"] for line in lines if "warning" in line]
    assert "point INGRAIN_SCRATCH to a larger disk" in warnings[0]
    assert result["loss"] == steps_of(lines)[-1]["loss"]


def test_a_disk_that_fills_up_while_it_is_written_is_told(fit, build_checkpoint, small_disk, monkeypatch):
    one = fit(build_checkpoint("llama"))
    asyncio.run(
        files.fetch(
            one.storage, "projects/p/models/base/import-1/model", small_disk / "models" / one.base_sha256
        )
    )
    (small_disk / "filler").write_bytes(bytes(max(0, scratch.bytes_free(small_disk) - 300_000)))
    monkeypatch.setattr(saving, "bytes_free", lambda _: 1 << 40)
    job = one.job(1, max_steps=4, save_steps=2, **PLAIN)
    with pytest.raises(Interrupted, match="larger disk"):
        loop(asdict(job))
    told = asyncio.run(exchange.get_json(one.storage, exchange.error_key(job.prefix)))
    assert (told["reason"], told["permanent"]) == ("SCRATCH_FULL", False)


@pytest.mark.parametrize("why", ["paused", "budget"])
def test_a_training_that_is_to_stop_takes_a_checkpoint_and_goes_on_alike(one, why):
    _, whole, folder = one.run(one.job(1, max_steps=6, save_steps=6, **PLAIN))
    limit = {"max_duration": {"nanos": 1000}} if why == "budget" else {}
    job = one.job(2, max_steps=6, save_steps=6, **PLAIN, **limit)
    if why == "paused":
        asyncio.run(exchange.put_json(one.storage, exchange.stop_key(job.prefix), {"reason": why}))
    loop(json.loads(json.dumps(asdict(job))))
    stopped = asyncio.run(exchange.get_json(one.storage, exchange.stopped_key(job.prefix)))
    assert stopped == {"reason": why, "step": 1}
    assert asyncio.run(exchange.get_json(one.storage, exchange.result_key(job.prefix))) is None
    lines = one.lines(job)
    assert [line["step"] for line in steps_of(lines)] == [1]
    _, rest, again = one.run(
        one.job(3, checkpoint=checkpoints_of(lines)[1], max_steps=6, save_steps=6, **PLAIN)
    )
    assert [line["loss"] for line in steps_of(lines) + steps_of(rest)] == [
        line["loss"] for line in steps_of(whole)
    ]
    assert (folder / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_the_best_steps_weights_are_exported_also_after_a_crash(one, monkeypatch):
    from services.trainer.evaluating import Evaluator

    scripted = {2: 1.0, 4: 2.0, 6: 3.0}
    monkeypatch.setattr(
        Evaluator, "measure", lambda self, step: self.take(found := {"step": step, "eval_loss": scripted.get(step, 9.0)}) or found
    )  # fmt: skip
    _, _, best = one.run(one.job(1, max_steps=2, **CALM))
    spec = {
        "evaluation": {"eval_ratio": 0.1, "eval_steps": 2},
        "held_out": True,
        "max_steps": 6,
        "save_steps": 4,
        **CALM,
    }
    result, lines, folder = one.run(one.job(2, **spec))
    assert (result["best_step"], result["step"]) == (2, 6)
    assert [line["measurement"]["step"] for line in lines if "measurement" in line] == [0, 2, 4, 6]
    assert (folder / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    kept = checkpoints_of(lines)
    assert [step for step, checkpoint in kept.items() if checkpoint["best"]] == [2]
    # Taken up again at the best step, and after the last one.
    for number, step, noted in ((3, 2, None), (4, 6, kept[2])):
        job = one.job(number, checkpoint=kept[step], **spec)
        result, lines, folder = one.run(exchange.Job(**{**asdict(job), "best": noted}))
        assert [line["step"] for line in steps_of(lines)] == list(range(step + 1, 7))
        assert [found["step"] for found in result["measurements"]] == [0, 2, 4, 6]
        assert result["best_step"] == 2
        assert (folder / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()


def test_a_diverging_gradient_leaves_no_poisoned_checkpoint(one, monkeypatch):
    """The loss of a step is still a number when its gradient is none; the weights after it are not."""
    from services.trainer import steps
    from services.trainer.engine import CannotTrain

    train_step = steps.train_step
    count = []

    def training(engine, batches, targets, rate):
        count.append(1)
        loss, norm = train_step(engine, batches, targets, rate)
        return loss, float("nan") if len(count) == 4 else norm

    monkeypatch.setattr(steps, "train_step", training)
    job = one.job(1, max_steps=6, save_steps=1, **PLAIN)
    with pytest.raises(CannotTrain, match="gradient's norm is nan at step 4"):
        loop(asdict(job))
    kept = checkpoints_of(one.lines(job))
    assert kept
    assert max(kept) <= 3


def test_scratch_of_earlier_attempts_goes(tmp_path):
    for name in ("op-1", "op-2", "op-3", "other-1"):
        (tmp_path / "checkpoints" / name / "00000").mkdir(parents=True)
    old = tmp_path / "checkpoints" / "old-1"
    old.mkdir()
    os.utime(old, (0, time.time() - scratch.ABANDONED_S - 10))
    scratch.sweep(tmp_path, ("checkpoints", "load"), "projects/p/models/m/op-3")
    assert sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir()) == ["op-3", "other-1"]
