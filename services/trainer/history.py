"""A training's steps as one run, however many attempts it took: while it runs, after it ended, after a restart."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from ingrain.v1 import trainer_pb2
from servicekit.storage import Storage
from services.trainer.attempts import Attempts
from services.trainer.models import IN_THE_MAKING, Models
from services.trainer.progress import ProgressReader, snapshot

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0  # after so long without a step a watcher is told that the stream lives


class History:
    """Reads the progress that the jobs wrote."""

    def __init__(
        self, attempts: Attempts, models: Models, storage: Storage, heartbeat_s: float = HEARTBEAT_SECONDS
    ) -> None:
        self.attempts = attempts
        self.models = models
        self.storage = storage
        self.heartbeat_s = heartbeat_s

    async def watch(self, model: str, start_step: int) -> AsyncIterator[trainer_pb2.TrainingSnapshot]:
        """Every step from `start_step` (from 1) on, once and in order, until the training ends; a snapshot without a step where
        nothing has happened for a while."""
        cursor = Cursor(self, model, start_step)
        told = time.monotonic()
        while True:
            # Asked first: a step written before the end is then still read after it.
            state = (await self.models.rows.get(model)).state
            steps = await cursor.new_steps()
            for line, step_count in steps:
                yield snapshot(line, step_count)
            if state not in IN_THE_MAKING:
                return
            if steps:
                told = time.monotonic()
            elif time.monotonic() - told > self.heartbeat_s:
                yield trainer_pb2.TrainingSnapshot()
                told = time.monotonic()
            await asyncio.sleep(POLL_SECONDS)

    async def losses(self, model: str) -> list[float]:
        """Of every step so far."""
        return [line["loss"] for line, _ in await Cursor(self, model, 1).new_steps()]


class Cursor:
    """How far one watcher has read."""

    def __init__(self, history: History, model: str, start_step: int) -> None:
        self.history = history
        self.model = model
        self.next_step = max(1, start_step)
        self.readers: dict[str, ProgressReader] = {}

    async def new_steps(self) -> list[tuple[dict[str, Any], int]]:
        """Lines of steps not given before, with the number of steps that the run has."""
        attempts = await self.history.attempts.of(self.model)
        found = []
        for number, attempt in enumerate(attempts):
            reader = self.readers.setdefault(
                attempt.prefix, ProgressReader(self.history.storage, attempt.prefix)
            )
            # A later attempt does the steps again that the earlier one did after its last checkpoint.
            end = attempts[number + 1].first_step if number + 1 < len(attempts) else math.inf
            for line in await reader.read():
                if "step" in line and self.next_step <= line["step"] < end:
                    self.next_step = line["step"] + 1
                    found.append((line, attempt.step_count))
        return found
