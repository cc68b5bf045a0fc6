"""When a training ends before its last step: the trainer asked for it, or its time is up."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import torch.distributed as dist

from servicekit.storage import Storage
from services.trainer.exchange import Job, get_json, stop_key
from services.trainer.outages import OUTAGES

LOOK_S = 1.0


class StopWatch:
    """Looks for `stop.json` from a thread of its own, so that no step waits for storage."""

    def __init__(self, storage: Storage, job: Job) -> None:
        self.storage = storage
        self.key = stop_key(job.prefix)
        limit = job.training_config().max_duration_s
        self.deadline = time.monotonic() + limit - job.worked_s if limit else 0.0  # 0: none
        self.asked = ""
        self.ending = threading.Event()

    @property
    def reason(self) -> str:
        """ "paused", "budget", or nothing while the training may go on."""
        if not self.asked and self.deadline and time.monotonic() > self.deadline:
            return "budget"
        return self.asked

    @contextlib.contextmanager
    def open(self) -> Iterator["StopWatch"]:
        """Has looked once when the block begins: what was asked for while the workers started counts from the first step on. Only the
        first worker looks; it tells the others."""
        if dist.get_rank() == 0:
            self.look()
            threading.Thread(target=self.run, daemon=True).start()
        try:
            yield self
        finally:
            self.ending.set()

    def run(self) -> None:
        while not self.asked and not self.ending.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        with contextlib.suppress(*OUTAGES):
            if found := asyncio.run(get_json(self.storage, self.key)):
                self.asked = found["reason"]
