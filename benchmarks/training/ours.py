"""A worker: the trainer's step in this process, with DeepSpeed or without. `... TASK`"""

import json
import os
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.training.contender import work
from benchmarks.training.material import Task, model_of, texts
from services.trainer import attention
from services.trainer.adapters import with_adapter
from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows
from services.trainer.losses import learns_at_targets
from services.trainer.metering import ModelFlops
from services.trainer.packing import TokenSequence, pack
from services.trainer.step import train_step

ROW = 512


class Ours:
    """Steps of as many rows as hold `texts_per_step` texts on average."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)
        self.task = task
        self.step = 0
        found = texts(task)
        self.packed = pack([TokenSequence(text, text) for text in found], ROW, 0, 0)
        tokens = sum(map(len, found)) / len(found) * task.texts_per_step
        self.rows = max(1, round(tokens / self.packed.token_count_R.mean() / task.workers))
        self.config = config_of(task, self.rows)
        self.data = TrainingRows(dict(vars(self.packed)), self.config)
        self.engine = engine_of(task, self.config)
        self.flops = ModelFlops.of(self.engine.module, self.config)

    def steps(self, count: int) -> dict[str, Any]:
        """Takes so many; tokens without padding, of all workers, and the losses."""
        tokens, flops, losses = 0, 0.0, []
        busy = time.process_time()
        for _ in range(count):
            self.step += 1
            batches = self.data.batches(self.step, dist.get_rank(), self.engine.device)
            loss, _ = train_step(
                self.engine, batches, self.data.target_count(self.step), self.task.learning_rate
            )
            losses.append(loss)
            done = self.data.token_count(self.step)
            tokens += done
            flops += self.flops.of_step(done, self.data.looked_at(self.step))
        busy = time.process_time() - busy
        return {"tokens": tokens, "flops": flops, "losses": losses, "busy_s": busy}

    def gemm(self) -> dict[str, float]:
        return gemm_peaks()


def gemm_peaks(tries: int = 25) -> dict[str, float]:
    """FLOP/s of the best square matrix multiplication of one thread, by number format."""
    found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        best = 0.0
        for size in (512, 1_024):
            left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
            for _ in range(tries):
                began = time.perf_counter()
                torch.nn.functional.linear(left, right)
                best = max(best, 2 * size**3 / (time.perf_counter() - began))
        found[name] = best
    return found


def config_of(task: Task, rows: int) -> TrainingConfig:
    return TrainingConfig(
        method=task.method,
        splitting="document",
        max_steps=1_000,
        num_train_epochs=0.0,
        learning_rate=task.learning_rate,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=1,
        max_length=ROW,
        seed=0,
        bf16=True,
        train_on_prompt=False,
        r=16,
        lora_alpha=32.0,
        lora_dropout=0.0,
        target_modules=(),
        num_workers=task.workers,
        zero_stage=task.zero_stage,
        save_steps=1_000,
    )


def engine_of(task: Task, config: TrainingConfig) -> Any:
    """As the trainer makes it, without the way over a folder."""
    if not dist.is_initialized():
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    attention.register()
    model = model_of(task.shape, attention.NAME)
    torch.manual_seed(0)
    if task.method == "lora":
        model = with_adapter(model, config)
    learns_at_targets(model)
    if task.engine == "plain":
        from services.trainer.plain_engine import PlainEngine

        return PlainEngine(model.train(), config, torch.device("cpu"), bf16=True)
    from services.trainer.engine import new_engine
    from services.trainer.loop import quiet_libraries

    quiet_libraries()
    return new_engine(model.train(), config)


class SameTexts:
    """Steps of given texts in given order, to be compared loss by loss."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)
        self.task = task
        self.texts = texts(task)
        self.engine = engine_of(task, config_of(task, task.texts_per_step))

    def losses(self, count: int) -> list[float]:
        found = []
        for step in range(count):
            start = step * self.task.texts_per_step
            mine = self.texts[start : start + self.task.texts_per_step]
            packed = pack([TokenSequence(text, text) for text in mine], ROW, 0, 0)
            config = config_of(self.task, len(packed.token_count_R))
            data = TrainingRows(dict(vars(packed)), config)
            batches = data.batches(1, 0, self.engine.device)
            found.append(train_step(self.engine, batches, data.target_count(1), self.task.learning_rate)[0])
        return found


if __name__ == "__main__":
    given = Task(**json.loads(sys.argv[1]))
    if given.setting == "same texts":
        same = SameTexts(given)
        work({"losses": same.losses})
    else:
        ours = Ours(given)
        work({"steps": ours.steps, "gemm": ours.gemm})
