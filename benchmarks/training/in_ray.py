"""A worker: the trainer's step on Ray Train's workers, with DeepSpeed. `... TASK`

A Ray of its own on this machine; an actor takes turns from here to the workers and back.
"""

import json
import os
import queue
import sys
import tempfile
import threading
import time
from typing import Any

import ray

from benchmarks.training.contender import QUIET, ROOT, work
from benchmarks.training.material import Task


class Board:
    """What is to be done next, by number, and what came of it. An actor."""

    def __init__(self) -> None:
        self.turns: list[int] = []  # steps to take; 0 ends the workers
        self.answers: dict[int, Any] = {}

    def put(self, steps: int) -> int:
        self.turns.append(steps)
        return len(self.turns) - 1

    def turn(self, number: int) -> int | None:
        return self.turns[number] if number < len(self.turns) else None

    def answer(self, number: int, found: Any) -> None:
        self.answers[number] = found

    def answered(self, number: int) -> Any:
        return self.answers.get(number)


def loop(given: dict[str, Any]) -> None:
    """A Ray Train worker: waits for turns, takes steps, the first one answers."""
    import torch.distributed as dist

    from benchmarks.training.ours import Ours

    ours = Ours(Task(**given["task"]))
    board = given["board"]
    number = 0
    while True:
        steps = ray.get(board.turn.remote(number))
        if steps == 0:
            return
        if steps is None:
            time.sleep(0.02)
            continue
        began = time.perf_counter()
        found = ours.steps(steps)
        found["wall_s"] = time.perf_counter() - began
        busy = [None] * dist.get_world_size()
        dist.all_gather_object(busy, found["busy_s"])
        if dist.get_rank() == 0:
            ray.get(board.answer.remote(number, found | {"busy_s": sum(busy)}))
        number += 1


class InRay:
    def __init__(self, task: Task) -> None:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        self.board = ray.remote(num_cpus=0)(Board).remote()
        self.failed: queue.Queue[BaseException] = queue.Queue()
        trainer = TorchTrainer(
            loop,
            train_loop_config={"task": task.told(), "board": self.board},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=task.workers, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(storage_path=tempfile.mkdtemp(prefix="ingrain-bench-ray-")),
        )
        threading.Thread(target=self.run, args=(trainer,), daemon=True).start()

    def run(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self.failed.put(error)

    def steps(self, count: int) -> dict[str, Any]:
        """On the wall it takes `wall_s` at the first worker; the way to it and back is not counted."""
        number = ray.get(self.board.put.remote(count))
        while True:
            if found := ray.get(self.board.answered.remote(number)):
                return found
            if not self.failed.empty():
                raise self.failed.get()
            time.sleep(0.02)


def start_ray(cpus: int) -> None:
    paths = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    ray.init(
        num_cpus=cpus,
        object_store_memory=100 << 20,
        include_dashboard=True,
        log_to_driver=False,
        runtime_env={"env_vars": QUIET | {"PYTHONPATH": paths}},
    )


if __name__ == "__main__":
    asked = Task(**json.loads(sys.argv[1]))
    # One for the trainer's controller beside the workers.
    start_ray(asked.workers + 1)
    in_ray = InRay(asked)
    try:
        work({"steps": in_ray.steps})
    finally:
        ray.get(in_ray.board.put.remote(0))
        ray.shutdown()
