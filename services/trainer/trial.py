"""Some steps that are really taken, to know what the others will take: `python -m services.trainer.trial <folder>`.

A process of its own per worker, without Ray: torch stays out of the process that answers calls. The folder holds `task.json`, `packed.safetensors`
and the process group's meeting place; after each step it gets `measured.json`, so that a trial that is ended early has measured
something. Nothing is kept of what was learned.
"""

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.config import TrainingConfig

MOST_STEPS = 20
ENOUGH_SECONDS = 8.0  # on the wall, after the first step


@dataclass(frozen=True)
class TrialTask:
    """What is tried; paths are on this machine."""

    base: str
    config: dict[str, Any]  # of a TrainingConfig
    threads: int


def main(folder: Path, rank: int) -> None:
    task = TrialTask(**json.loads((folder / "task.json").read_text()))
    config = TrainingConfig.from_json(task.config)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(config.num_workers))
    measure(task, config, folder, rank)


def measure(task: TrialTask, config: TrainingConfig, folder: Path, rank: int) -> None:
    """Loads the model and takes steps as a worker does."""
    import torch
    import torch.distributed as dist
    from safetensors.numpy import load_file

    from services.trainer.data import TrainingRows
    from services.trainer.engine import load_model, new_engine, uses_bf16
    from services.trainer.loop import device, import_all, quiet_libraries
    from services.trainer.metering import Meter

    quiet_libraries()
    torch.set_num_threads(task.threads)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(
        backend, init_method=f"file://{folder}/group", rank=rank, world_size=config.num_workers
    )
    import_all(config)
    meter = Meter(device(), config.num_workers, uses_bf16(config))
    torch.manual_seed(config.seed)
    model = load_model(Path(task.base), config)
    data = TrainingRows(load_file(folder / "packed.safetensors"), config)
    engine = new_engine(model, config)
    meter.model(engine.module, config)
    take_steps(engine, data, config, meter, folder, rank)


def take_steps(engine: Any, data: Any, config: TrainingConfig, meter: Any, folder: Path, rank: int) -> None:
    """As many as tell enough; each one is noted at once."""
    import torch.distributed as dist

    from services.trainer.engine import uses_bf16
    from services.trainer.step import learning_rate, train_step

    begun = once = 0.0
    for step in range(1, MOST_STEPS + 1):
        if step == 2:
            once, begun = meter.now() - meter.start, time.monotonic()
        started = time.monotonic()
        meter.begin_step()
        train_step(
            engine,
            data.batches(step, rank, engine.device),
            data.target_count(step),
            learning_rate(config, step),
        )
        meter.step(time.monotonic() - started, data.token_count(step), data.looked_at(step), 0)
        found = meter.result()
        if rank == 0 and step > 1:
            rate = {
                "step_seconds": settled(meter),
                "step_flops": found["step_flops"],
                # The first step is one of those that are counted.
                "once_seconds": max(0.0, once - settled(meter)),
                "startup_seconds": 0.0,
                "memory_bytes": found["worker_memory_bytes"],
                "workers": config.num_workers,
                "trial_steps": step,
            }
            said = {"steps": step, "rate": rate, "bf16": uses_bf16(config), "device": engine.device.type}
            partial = folder / "measured.part"
            partial.write_text(json.dumps(said))
            partial.replace(folder / "measured.json")
        # The first worker's clock decides for all.
        ends = [step > 2 and time.monotonic() - begun > ENOUGH_SECONDS]
        dist.broadcast_object_list(ends, 0)
        if ends[0]:
            return


def settled(meter: Any) -> float:
    """Seconds of a step when kernels for most shapes are there: the median of the later half, of the first worker's processor."""
    took = [step.busy for step in meter.last]
    return statistics.median(took[len(took) // 2 :])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
