"""What a training uses while it runs."""

import time

import torch
import torch.distributed as dist


class ComputeMeter:
    """Processor seconds of all workers since it was made; on GPUs the time that they were held."""

    def __init__(self, device: torch.device, world: int) -> None:
        self.device = device
        self.world = world
        self.start = self.now()

    def now(self) -> float:
        return time.monotonic() if self.device.type == "cuda" else time.process_time()

    def seconds(self) -> float:
        """A collective: every worker calls it."""
        mine = torch.tensor([self.now() - self.start], device=self.device)
        dist.all_reduce(mine)
        return mine.item()
