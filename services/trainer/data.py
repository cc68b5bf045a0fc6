"""The training rows as tensors (legend: R packed rows, L tokens of a row, B rows of a micro-batch). Needs torch, no Ray.

`packed.safetensors` holds int32 arrays: the training rows as `packing.Packed` names them and, where the training
measures itself, what it measures (legend: C choices of all probes, numbered from 0):

    held_out.<name>     rows that are not trained on; names and meaning as of the training rows
    probes.<name>       the same; each segment is a probe's prompt with one of its choices, and only the choice's tokens are labels
    probes.choice_RL    the choice that a token belongs to; -1 where the token is no label
    probes.probe_C      the probe of each choice, from 0
    probes.right_C      1 where the choice is right, else 0

and where it learns from a teacher, what that reads (`teacher.<name>` with the names of teaching.py) and what it is asked for:

    teacher.target_RL   the number of the target at this place; -1 where no label is
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import load_file

from services.trainer.config import TrainingConfig
from services.trainer.distillation import Teacher, teacher_of
from services.trainer.packing import IGNORED, rows_at

if TYPE_CHECKING:
    from servicekit.storage import Storage
    from services.trainer.exchange import Job


@dataclass(frozen=True)
class Batch:
    """A micro-batch; int64, on the worker's device."""

    input_ids_BL: torch.Tensor
    position_ids_BL: torch.Tensor
    labels_BL: torch.Tensor
    teacher: Teacher | None = None  # of a context distillation


def fetch_packed(storage: "Storage", job: "Job") -> dict[str, np.ndarray]:
    """The arrays that `prepare` made; raises where they are not what was stored."""
    with tempfile.TemporaryDirectory(prefix="ingrain-") as folder:
        path = Path(folder) / "packed.safetensors"
        if asyncio.run(storage.get_file(job.packed_key, path)) != job.packed_sha256:
            raise RuntimeError("The training rows are not what was stored.")
        return load_file(path)


class TrainingRows:
    """The training rows, dealt out by step, micro-batch and worker. A pure function of the step: nothing to save."""

    def __init__(self, arrays: dict[str, np.ndarray], config: TrainingConfig) -> None:
        self.arrays = arrays
        self.config = config
        self.row_count = len(arrays["token_count_R"])
        self.target_count_R = (arrays["labels_RL"] != IGNORED).sum(axis=1)
        filled = np.arange(arrays["position_ids_RL"].shape[1]) < np.asarray(arrays["token_count_R"])[:, None]
        self.looked_at_R = np.where(filled, arrays["position_ids_RL"] + 1, 0).sum(axis=1)
        self.held_out = part(arrays, "held_out.")
        self.probes = part(arrays, "probes.")

    def rows_of_step(self, step: int) -> list[int]:
        """Row numbers of optimizer step `step` (from 1), of all workers and micro-batches."""
        count = self.config.rows_per_step
        return rows_at((step - 1) * count, count, self.row_count, self.config.seed)

    def target_count(self, step: int) -> int:
        return int(self.target_count_R[self.rows_of_step(step)].sum())

    def token_count(self, step: int) -> int:
        return int(self.arrays["token_count_R"][self.rows_of_step(step)].sum())

    def looked_at(self, step: int) -> int:
        """Positions that the step's tokens attend to, summed over them; 1 for the first of a text."""
        return int(self.looked_at_R[self.rows_of_step(step)].sum())

    def batches(self, step: int, rank: int, device: torch.device) -> list[Batch]:
        size = self.config.per_device_train_batch_size
        micro_batches = np.array(self.rows_of_step(step)).reshape(-1, self.config.num_workers, size)[:, rank]
        return [
            Batch(
                *(
                    torch.from_numpy(self.arrays[name][rows].astype(np.int64)).to(device)
                    for name in ("input_ids_RL", "position_ids_RL", "labels_RL")
                ),
                teacher=self.teacher(rows, device),
            )
            for rows in micro_batches
        ]

    def teacher(self, rows: np.ndarray, device: torch.device) -> Teacher | None:
        temperature = self.config.distillation_temperature
        if not temperature:
            return None
        target_BL = self.arrays["teacher.target_RL"][rows]
        return teacher_of(self.arrays, target_BL[target_BL >= 0], temperature, device)


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray] | None:
    """The arrays of that prefix by the rest of their names; None where there is none."""
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return found or None
