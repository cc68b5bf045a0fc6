"""Checkpoints beside the training: state is copied to local scratch between two steps, a thread of its own brings it to object storage.

The first worker reports a checkpoint when the files of all workers are there, never before. One that is due while another is still on
its way waits for it: it is taken between later steps, when the way is free. Where the scratch has no room none is taken, and that is told.
"""

import asyncio
import contextlib
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ingrain.units import size
from servicekit.storage import Storage
from services.trainer import checkpoints
from services.trainer.checkpoints import Checkpoint
from services.trainer.exchange import Job, checkpoint_key, get_json, put_json
from services.trainer.failures import Interrupted, is_full_disk
from services.trainer.outages import through_outages
from services.trainer.progress import ProgressWriter
from services.trainer.scratch import attempt_folder, bytes_free
from services.trainer.settings import TrainerSettings

KIND = "checkpoints"  # of scratch folder
POLL_S = 0.2
FLOAT_BYTES = 4


@dataclass(frozen=True)
class State:
    """What a checkpoint says beside the engine's own state."""

    step: int
    tokens: int
    loss: float
    compute_seconds: float
    best: bool
    evaluation: dict[str, Any] | None


class Saver:
    """The checkpoints of one worker. All workers call `save` at the same steps."""

    def __init__(
        self, engine: Any, storage: Storage, job: Job, writer: ProgressWriter, settings: TrainerSettings
    ) -> None:
        self.engine = engine
        self.storage = storage
        self.job = job
        self.writer = writer
        self.adapter = job.training_config().method == "lora"
        self.wait_s = settings.storage_wait_s
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.folder = attempt_folder(settings.scratch, KIND, job.prefix) / f"{self.rank:05d}"
        self.needed_bytes = self.first_size()
        self.way: queue.Queue[tuple[State, Path] | None] = queue.Queue()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.closing_time = 0.0  # 0: the training goes on, so storage has all the time it needs
        self.error: Exception | None = None
        self.reported: dict[int, Checkpoint] = {}  # at the first worker, by step

    @property
    def pending(self) -> int:
        """Checkpoints that were taken and are not reported; all but the first worker know only of their own files."""
        return self.way.unfinished_tasks

    @contextlib.contextmanager
    def open(self) -> Iterator["Saver"]:
        """When the block has ended, whichever way, what was taken is reported; raises where storage did not take it."""
        self.thread.start()
        try:
            yield self
        finally:
            self.finish()
            self.way.put(None)
            self.thread.join()
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.error:
            raise self.error

    def finish(self) -> None:
        """Returns when everything that was taken is in storage, or storage was away for too long."""
        self.closing_time = time.monotonic()
        self.way.join()
        self.closing_time = 0.0

    def wait_for_way(self) -> None:
        """Returns when no more than one checkpoint is on its way."""
        while self.pending > 1:
            time.sleep(POLL_S)

    def save(self, state: State) -> None:
        """Takes the state as it is now; a collective. Returns when it lies on this machine; raises what an earlier one met with."""
        if self.error:
            raise self.error
        if not self.room():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"step-{state.step}-", dir=self.folder))
        try:
            checkpoints.write(self.engine, folder, adapter=self.adapter)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if not is_full_disk(error):
                raise
            raise Interrupted("SCRATCH_FULL", no_room(self.folder, self.needed_bytes)) from error
        self.needed_bytes = sum(path.stat().st_size for path in folder.rglob("*.pt"))
        self.way.put((state, folder))

    def room(self) -> bool:
        """Whether every worker's scratch holds one more; a collective."""
        fits = bytes_free(self.folder) >= self.needed_bytes * 1.05
        all_fit = agreed_by_all(fits, self.engine.device)
        if self.rank == 0 and not all_fit:
            other = "No checkpoint could be taken: another worker's scratch disk has no room for it."
            self.writer.write({"warning": other if fits else no_room(self.folder, self.needed_bytes)})
        return all_fit

    def first_size(self) -> int:
        """Bytes of this worker's part, about: weights, and where they are partitioned its share of moments and float32 weights."""
        whole = sum(
            getattr(p, "ds_numel", p.numel())
            for p in self.engine.module.parameters()
            if p.requires_grad or not self.adapter
        )
        if self.engine.zero_optimization_stage() == 0:
            return 3 * FLOAT_BYTES * whole if self.rank == 0 else 0
        return 3 * FLOAT_BYTES * whole // self.world + (FLOAT_BYTES * whole if self.rank == 0 else 0)

    def run(self) -> None:
        while taken := self.way.get():
            state, folder = taken
            try:
                if self.error is None:
                    asyncio.run(self.bring(state, folder))
            except Exception as error:
                self.error = error
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                self.way.task_done()

    async def bring(self, state: State, folder: Path) -> None:
        """This worker's files to storage; the first worker then waits for the others' and reports the whole."""
        key = checkpoint_key(self.job.prefix, state.step)
        own = await self.insist(lambda: checkpoints.upload(self.storage, key, folder))
        if self.rank > 0:
            note = {"files": own}
            await self.insist(lambda: put_json(self.storage, part_key(key, self.rank), note))
            return
        others = [await self.part_of(key, rank) for rank in range(1, self.world)]
        files = [file for part in (own, *others) for file in part]
        checkpoint = Checkpoint(key=key, files=files, world=self.world, **vars(state))
        self.reported[state.step] = checkpoint
        self.writer.write({"checkpoint": asdict(checkpoint)})

    async def part_of(self, key: str, rank: int) -> list[dict[str, Any]]:
        """Another worker's files, when all of them are in storage."""
        while True:
            if note := await self.insist(lambda: get_json(self.storage, part_key(key, rank))):
                return note["files"]
            if self.given_up():
                raise Interrupted(
                    "CHECKPOINT_INCOMPLETE", f"Worker {rank} did not bring its part of {key} to storage."
                )
            await asyncio.sleep(POLL_S)

    async def insist(self, action: Any) -> Any:
        return await through_outages(action, self.given_up)

    def given_up(self) -> bool:
        return bool(self.closing_time) and time.monotonic() - self.closing_time > self.wait_s


def part_key(key: str, rank: int) -> str:
    """Says that a worker's files are all there, and which they are."""
    return f"{key}/part-{rank:05d}.json"


def agreed_by_all(value: bool, device: torch.device) -> bool:
    if dist.get_world_size() == 1:
        return value
    tensor = torch.tensor([int(value)], device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MIN)
    return bool(tensor.item())


def no_room(folder: Path, needed_bytes: int) -> str:
    return (
        f"No checkpoint could be taken: {folder} has {size(bytes_free(folder))} free, and {size(needed_bytes)} are needed. Free some "
        "there, or point INGRAIN_SCRATCH to a larger disk."
    )
