"""All optimizer steps of one worker: train, measure, tell, take checkpoints, end early where it is asked for."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from services.trainer.checkpoints import Checkpoint
from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows
from services.trainer.engine import CannotTrain
from services.trainer.metering import Meter
from services.trainer.progress import ProgressWriter
from services.trainer.saving import Saver, State
from services.trainer.step import learning_rate, train_step
from services.trainer.stopping import StopWatch

if TYPE_CHECKING:
    from services.trainer.evaluating import Evaluator

STOPS = ("", "paused", "budget")
DIVERGED = "TRAINING_DIVERGED"


@dataclass
class Run:
    """What the steps need; every worker has its own."""

    engine: Any
    data: TrainingRows
    config: TrainingConfig
    meter: Meter
    writer: ProgressWriter
    saver: Saver
    watch: StopWatch
    evaluator: "Evaluator | None"


@dataclass
class Outcome:
    """How far the steps went."""

    step: int
    loss: float
    tokens: int
    compute_seconds: float
    stopped: str = ""  # why before the end, one of STOPS


def run_steps(run: Run, done: Checkpoint | None) -> Outcome:
    """All steps after the checkpoint's. A collective; every worker ends at the same step."""
    config = run.config
    outcome = Outcome(
        done.step if done else 0,
        done.loss if done else math.nan,
        done.tokens if done else 0,
        done.compute_seconds if done else 0.0,
    )
    before = outcome.compute_seconds
    if run.evaluator and run.evaluator.due(outcome.step):
        tell(run, {"measurement": run.evaluator.measure(outcome.step)})
    due = False
    while outcome.step < config.max_steps and not ends_early(run, outcome.step):
        started = time.monotonic()
        run.meter.begin_step()
        step = outcome.step = outcome.step + 1
        outcome.loss, norm, rate = take_step(run.engine, run.data, config, step)
        tokens = run.data.token_count(step)
        outcome.tokens += tokens
        line = {
            "step": step,
            "loss": outcome.loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens": outcome.tokens,
            "time": time.time(),
            **run.meter.step(
                time.monotonic() - started, tokens, run.data.looked_at(step), config.max_steps - step
            ),
        }
        if run.evaluator and run.evaluator.due(step):
            line["measurement"] = run.evaluator.measure(step)
        tell(run, line)
        best = bool(run.evaluator) and config.load_best_model_at_end and run.evaluator.best_step == step
        due = due or step % config.save_steps == 0
        stop, free = agreed(run)
        outcome.stopped = STOPS[stop] if step < config.max_steps else ""
        last = outcome.stopped or step == config.max_steps or ends_early(run, step)
        if last or best or (due and free):
            due = False
            outcome.compute_seconds = before + run.meter.seconds()
            # The best step's state is taken while another is on its way; a third one waits.
            if best and not last:
                run.saver.wait_for_way()
            save(run, outcome, best)
        if outcome.stopped:
            break
    outcome.compute_seconds = before + run.meter.seconds()
    return outcome


def ends_early(run: Run, step: int) -> bool:
    return run.evaluator is not None and run.evaluator.stops(step)


def tell(run: Run, line: dict[str, Any]) -> None:
    if dist.get_rank() == 0:
        run.writer.write(line)


def save(run: Run, outcome: Outcome, best: bool) -> None:
    state = run.evaluator.state() if run.evaluator else None
    run.saver.save(
        State(outcome.step, outcome.tokens, outcome.loss, outcome.compute_seconds, best, evaluation=state)
    )


def agreed(run: Run) -> tuple[int, int]:
    """Whether to stop and why (a place in STOPS), and whether the way to storage is free: the first worker's word."""
    mine = [STOPS.index(run.watch.reason), int(run.saver.pending == 0)]
    if dist.get_world_size() == 1:
        return mine[0], mine[1]
    tensor = torch.tensor(mine, device=run.engine.device)
    dist.broadcast(tensor, 0)
    stop, free = tensor.tolist()
    return stop, free


def take_step(
    engine: Any, data: TrainingRows, config: TrainingConfig, step: int
) -> tuple[float, float, float]:
    """Loss, gradient norm before clipping, and learning rate of one optimizer step. A collective; CannotTrain where it diverged."""
    rank = dist.get_rank()
    # Dropout depends on the step and the worker only, so that a resumed run draws what the first one would have.
    torch.manual_seed(abs(config.seed) + step * dist.get_world_size() + rank)
    rate = learning_rate(config, step)
    batches = data.batches(step, rank, engine.device)
    loss, norm = train_step(engine, batches, data.target_count(step), rate)
    refuse_divergence(step, loss, norm, rate)
    return loss, norm, rate


def refuse_divergence(step: int, loss: float, norm: float, rate: float) -> None:
    """Before a checkpoint is taken: after a gradient that is no number the weights are none either."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
        raise CannotTrain(
            DIVERGED,
            f"The {what} at step {step}; lower the learning rate ({rate:g} at that step).",
        )
