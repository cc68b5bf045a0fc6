"""Training as it goes: lines of JSON in numbered parts, written by the job's first worker, read by the trainer.

A line is a step `{"step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "remaining_s", "mfu"?, "measurement"?, "time"}`
or a checkpoint `{"checkpoint": {...}}`; a measurement before the first step has a line of its own. Parts are never changed, so a reader may come at any time, during the training or a year later.
"""

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ingrain.v1 import trainer_pb2
from servicekit.storage import Storage
from services.trainer.exchange import progress_key
from services.trainer.outages import OUTAGES, within

PART_SECONDS = 1.0


class ProgressWriter:
    """Collects lines and writes a part a second from a thread of its own, so that no step waits for storage."""

    def __init__(self, storage: Storage, prefix: str, wait_s: float = 0.0) -> None:
        self.storage = storage
        self.prefix = prefix
        self.wait_s = wait_s  # how long the end waits for a storage that is away
        self.part = 0
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.listeners: list[Callable[[dict[str, Any]], None]] = []  # hear every line too
        self.unwritten = b""
        self.closing = threading.Event()

    def write(self, line: dict[str, Any]) -> None:
        self.lines.put(line)
        for listener in self.listeners:
            listener(line)

    @contextmanager
    def open(self) -> Iterator["ProgressWriter"]:
        """All lines are in storage when the block has ended; raises where storage did not take them."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            thread.join()
            asyncio.run(within(self.wait_s, self.put_all))

    def run(self) -> None:
        while not self.closing.wait(PART_SECONDS):
            # A storage that is away for a while must not end the training: the lines wait for the next part.
            with contextlib.suppress(*OUTAGES):
                self.flush()

    def flush(self) -> None:
        asyncio.run(self.put_all())

    async def put_all(self) -> None:
        """A part that may have been stored although storage did not say so is stored again as it was: it may have been read."""
        while self.unwritten or not self.lines.empty():
            if not self.unwritten:
                count = self.lines.qsize()
                lines = [json.dumps(self.lines.get()) for _ in range(count)]
                self.unwritten = "\n".join([*lines, ""]).encode()
            await self.storage.put(progress_key(self.prefix, self.part + 1), self.unwritten)
            self.part += 1
            self.unwritten = b""


class ProgressReader:
    """Reads the parts of one attempt in order; `read` returns what is new."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self.storage = storage
        self.prefix = prefix
        self.part = 0

    async def read(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        while await self.storage.stat(progress_key(self.prefix, self.part + 1)):
            data = await self.storage.get(progress_key(self.prefix, self.part + 1))
            lines += [json.loads(line) for line in data.decode().splitlines()]
            self.part += 1
        return lines


def snapshot(line: dict[str, Any], step_count: int) -> trainer_pb2.TrainingSnapshot:
    """A step's line as users see it."""
    message = trainer_pb2.TrainingSnapshot(
        step=line["step"],
        step_count=step_count,
        loss=line["loss"],
        learning_rate=line["learning_rate"],
        grad_norm=line["grad_norm"],
        trained_token_count=line["tokens"],
        tokens_per_second=line["tokens_per_second"],
    )
    message.snapshot_time.FromNanoseconds(int(line["time"] * 1e9))
    if "mfu" in line:
        message.model_flops_utilization = line["mfu"]
    if "remaining_s" in line:
        message.remaining_duration.FromNanoseconds(int(line["remaining_s"] * 1e9))
    if "measurement" in line:
        message.measurement.CopyFrom(measurement(line["measurement"]))
    return message


def measurement(values: dict[str, Any]) -> trainer_pb2.TrainingMeasurement:
    """Of `{"step", "eval_loss"?, "acc"?}`."""
    return trainer_pb2.TrainingMeasurement(**values)
