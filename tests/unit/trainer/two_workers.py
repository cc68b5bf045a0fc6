"""`python two_workers.py`: for each line of paths to jobs on standard input, their loops on two processes of this machine, as Ray Train
would run them; then a line of its own, `done` or `failed`. Everything is imported once, before the processes are forked."""

import json
import os
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from services.trainer.loop import loop

WORLD = 2


def worker(rank: int, store: str, jobs: list[str]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD), DS_ACCELERATOR="cpu")
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORLD)
    for path in jobs:
        with open(path) as file:
            loop(json.load(file))
    dist.destroy_process_group()


def run(jobs: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            mp.start_processes(worker, args=(f"{folder}/store", jobs), nprocs=WORLD, start_method="fork")
        except mp.ProcessRaisedException as error:
            print(error, file=sys.stderr)
            return False
        return True


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print("done" if run(line.split()) else "failed", flush=True)
