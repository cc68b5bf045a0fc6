"""What a training measures of itself: held-out rows and probes, before it, every so many steps and at its end.

(Legend: R packed rows, L tokens of a row, B rows of a micro-batch, N its targets, C choices, P probes.)

eval_loss   mean loss in nats per target token of the held-out rows; of the rows' own tokens, whatever is learned from them
acc         share of the probes whose right choice has the greatest sum of log-probabilities; a tie is right only if all
            choices in it are (as the evaluator counts)

A measurement changes nothing: no gradient, no dropout, no draw of the random numbers that training uses. Needs torch, no Ray.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from services.trainer.config import TrainingConfig
from services.trainer.data import Batch, TrainingRows
from services.trainer.packing import IGNORED
from services.trainer.step import reading_of
from services.trainer.tokens import predicted

# Two computations of one sum in float32 differ by less: whatever lies nearer than this to the first place shares it.
TIE_NATS = 1e-4
Arrays = dict[str, np.ndarray]
Measurement = dict[str, float]


class Evaluator:
    """Measures, remembers, and says which step was best and when to stop. Every worker has one, and all say the same.

    The model before the training is measured for comparison; it is never the best step, nor does it count for patience.
    """

    def __init__(self, engine: Any, data: TrainingRows, config: TrainingConfig) -> None:
        self.engine = engine
        self.data = data
        self.config = config
        self.measurements: list[Measurement] = []
        self.best_step = 0  # 0: none yet
        self.best_score = -math.inf
        self.mark = -math.inf  # the score that the next improvement must beat
        self.since_mark = 0  # measurements

    def due(self, step: int) -> bool:
        """Whether to measure after optimizer step `step`; 0 is before the first."""
        config = self.config
        if not config.evaluates or any(known["step"] == step for known in self.measurements):
            return False
        return step % config.eval_steps == 0 or step == config.max_steps

    def measure(self, step: int) -> Measurement:
        """{"step", "eval_loss", "acc"} with those that there are rows for. A collective: every worker calls it."""
        found: Measurement = {"step": step}
        if self.data.held_out is not None:
            found["eval_loss"] = eval_loss(self.engine, self.data.held_out, self.config)
        if self.data.probes is not None:
            found["acc"] = accuracy(self.engine, self.data.probes, self.config)
        self.take(found)
        return found

    def take(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)
        if measurement["step"] == 0:
            return
        score, first = self.score(measurement), not self.best_step
        # The first step of several equal ones has learned the least by heart.
        if first or score > self.best_score:
            self.best_step, self.best_score = int(measurement["step"]), score
        if first or score > self.mark + self.config.early_stopping_threshold:
            self.mark, self.since_mark = score, 0
        else:
            self.since_mark += 1

    def score(self, measurement: Measurement) -> float:
        """The metric that decides; more is better."""
        value = measurement[self.config.metric_for_best_model]
        return value if self.config.metric_for_best_model == "acc" else -value

    def stops(self, step: int) -> bool:
        """Whether the training ends after `step` because too many measurements brought no improvement."""
        patience = self.config.early_stopping_patience
        measured = bool(self.measurements) and self.measurements[-1]["step"] == step
        return measured and 0 < patience <= self.since_mark

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"measurements": self.measurements}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on as the evaluator did that gave this state."""
        for measurement in state["measurements"]:
            self.take(measurement)


def eval_loss(engine: Any, held_out: Arrays, config: TrainingConfig) -> float:
    """A loss that is no number is infinite: worse than all others."""
    sums = torch.zeros(2, dtype=torch.float64, device=engine.device)
    for _, _, loss_N in losses(engine, held_out, config):
        sums += torch.stack([loss_N.sum(dtype=torch.float64), sums.new_tensor(len(loss_N))])
    total, count = agreed(sums).tolist()
    return total / count if math.isfinite(total) else math.inf


def accuracy(engine: Any, probes: Arrays, config: TrainingConfig) -> float:
    sum_C = torch.zeros(len(probes["probe_C"]), dtype=torch.float64, device=engine.device)
    for rows, target_BL, loss_N in losses(engine, probes, config):
        choice_BL = on_device(engine, probes["choice_RL"][rows])
        sum_C.index_add_(0, choice_BL[target_BL], -loss_N.double())
    return share_right(agreed(sum_C).cpu().numpy(), probes["probe_C"], probes["right_C"])


def share_right(sum_C: np.ndarray, probe_C: np.ndarray, right_C: np.ndarray) -> float:
    """Of the probes: all choices within `TIE_NATS` of the best are right. A sum that is no number is never the best."""
    sum_C = np.where(np.isfinite(sum_C), sum_C, -np.inf)
    best_P = np.full(int(probe_C.max()) + 1, -np.inf)
    np.maximum.at(best_P, probe_C, sum_C)
    first_C = sum_C >= best_P[probe_C] - TIE_NATS
    right_P = np.ones(len(best_P), bool)
    np.logical_and.at(right_P, probe_C[first_C], right_C[first_C] == 1)
    return float(right_P.mean())


def losses(
    engine: Any, arrays: Arrays, config: TrainingConfig
) -> list[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """This worker's share, by micro-batch: the rows, which of their tokens are targets [B, L], and the loss of each of those [N].

    With ZeRO stage 3 a forward is a collective, so all workers take as many, some of them with repeated rows without targets.
    """
    rank, world, size = dist.get_rank(), dist.get_world_size(), config.per_device_train_batch_size
    row_count = len(arrays["labels_RL"])
    found = []
    devices = [engine.device] if engine.device.type == "cuda" else []
    engine.module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            for start in range(0, row_count, world * size):
                mine = [row for row in range(start, start + world * size) if row % world == rank]
                rows = [min(row, row_count - 1) for row in mine]
                ids_BL, positions_BL, labels_BL = (
                    on_device(engine, arrays[name][rows])
                    for name in ("input_ids_RL", "position_ids_RL", "labels_RL")
                )
                labels_BL[[row >= row_count for row in mine]] = IGNORED
                batch = Batch(ids_BL, positions_BL, labels_BL)
                reading = reading_of(engine, batch)
                loss_N = engine(**reading.inputs, targets=replace(reading.targets, each=True))
                found.append((rows, predicted(batch), loss_N))
    finally:
        engine.module.train()
    return found


def on_device(engine: Any, array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(engine.device)


def agreed(sums: torch.Tensor) -> torch.Tensor:
    """Over all workers, and the same bits on each, so that all of them decide alike."""
    if dist.get_world_size() > 1:
        dist.all_reduce(sums)
        dist.broadcast(sums, 0)
    return sums
