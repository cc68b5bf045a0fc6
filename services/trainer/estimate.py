"""What a training will take, reckoned before it runs. Each number is told with where it comes from."""

import math
from dataclasses import dataclass

from ingrain.v1 import common_pb2, studies_pb2
from servicekit.costs import training_flops
from servicekit.prices import money, price_of_time
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.rates import Found
from services.trainer.rows import lost_rows_note
from services.trainer.shapes import Shape

STARTUP_SECONDS = 25.0  # of Ray, its workers and their imports, where nothing else is known
STATE_BYTES_PER_SECOND = 300e6  # of checkpoints and exports by one processor
ASSUMED_SHARE = 0.4  # of the device's peak, where nothing was measured
ASSUMED_PEAK_FLOPS = {False: 1e11, True: 3e14}  # of a processor's thread, of a GPU


@dataclass(frozen=True)
class Work:
    """Steps, tokens and operations of the whole run."""

    tokens: int
    flops: float
    step_flops: float
    steps: float  # with searches and measurements reckoned as steps

    @staticmethod
    def of(config: TrainingConfig, shape: Shape, data: DataSummary) -> "Work":
        each = step_tokens(config, data)
        adapters = (
            shape.adapter_count(config.r, config.target_modules, config.use_dora)
            if config.method == "lora"
            else 0
        )
        step_flops = training_flops(
            shape.parameter_count,
            shape.layer_count,
            shape.hidden_size,
            round(each),
            data.mean_row_tokens,
            adapter_parameter_count=adapters,
        )
        steps = config.max_steps + steps_beside(config, data)
        return Work(round(config.max_steps * each), config.max_steps * step_flops, step_flops, steps)


def step_tokens(config: TrainingConfig, data: DataSummary) -> float:
    """Expected tokens of a step, padding not counted."""
    return config.rows_per_step * config.max_length * (1 - data.padding_ratio)


def steps_beside(config: TrainingConfig, data: DataSummary) -> float:
    """Searches and measurements, reckoned as steps."""
    steps = float(len(config.learning_rates) * config.search_steps)
    if config.evaluates and config.eval_steps:
        # A forward pass is a third of a step; probes are a few sentences each.
        held_out = data.held_out_row_count * data.mean_row_tokens + data.probe_count * 64
        measured = config.max_steps // config.eval_steps + 1
        steps += measured * held_out / 3 / max(1.0, step_tokens(config, data))
    return steps


def trained_tokens(config: TrainingConfig, data: DataSummary) -> int:
    """Expected tokens of the whole run, padding not counted."""
    return round(config.max_steps * step_tokens(config, data))


@dataclass(frozen=True)
class Time:
    """Processor seconds of all workers, seconds on the wall, and where they come from."""

    compute_seconds: float
    wall_seconds: float
    note: str


def time_of(
    config: TrainingConfig,
    shape: Shape,
    work: Work,
    found: Found | None,
    gpu: bool,
    threads: int,
    peak_flops: float,
) -> Time:
    """By the very step that was measured, else by a like one's operations a second, else by an assumption that is said."""
    workers = config.num_workers
    trained = (
        shape.adapter_count(config.r, config.target_modules, config.use_dora)
        if config.method == "lora"
        else shape.parameter_count
    )
    saves = math.ceil(config.max_steps / max(1, config.save_steps))
    saving = (12.0 * trained * saves / workers + 4.0 * trained) / STATE_BYTES_PER_SECOND
    startup = STARTUP_SECONDS
    if found and found.exact:
        rate = found.rate
        each, once = rate.step_seconds, rate.once_seconds
        startup = rate.startup_seconds or STARTUP_SECONDS
        once += saving if found.source == "trial" else 0.0
        note = f"{each:.3g} s a step and {once:.1f} s once, {source(found)}"
    elif found:
        speed = found.rate.step_flops / (found.rate.step_seconds * found.rate.workers)
        each, once = work.step_flops / (workers * speed), saving
        startup = found.rate.startup_seconds or STARTUP_SECONDS
        note = f"{each:.3g} s a step by {speed / 1e9:.3g} GFLOP/s, {source(found)}"
    else:
        peak = peak_flops or ASSUMED_PEAK_FLOPS[gpu] * (1 if gpu else threads)
        each, once = work.step_flops / (workers * ASSUMED_SHARE * peak), saving
        note = (
            f"{each:.3g} s a step, assumed: {ASSUMED_SHARE:.0%} of a peak of {peak / 1e9:.0f} GFLOP/s a worker (nothing like it was "
            "measured here yet; INGRAIN_DEVICE_PEAK_FLOPS sets the peak)"
        )
    compute = workers * (once + each * work.steps)
    at_once = 1 if gpu else threads
    return Time(
        compute,
        startup + compute / workers / at_once,
        f"Time of a worker's processor: {note}, {startup:.0f} s to start.",
    )


def source(found: Found) -> str:
    if found.source == "trial":
        return "measured here by a trial" if found.exact else "measured here by a trial of another size"
    return f"measured by {found.source}" if found.exact else f"as {found.source} had, which is like it"


def priced(
    compute_seconds: float, device: str, table: studies_pb2.PriceTable
) -> tuple[common_pb2.Money | None, list[str]]:
    """In money and a sentence about it; nothing where the operator has set no prices."""
    if not table.currency_code:
        return None, []
    price = price_of_time(compute_seconds, device, table)
    if price is None:
        return None, [f"The price table of {table.effective_date} has no price for an hour of {device!r}."]
    return money(price, table), [f"Prices of {table.effective_date}, by seconds of {device!r}."]


def estimate(
    config: TrainingConfig,
    data: DataSummary,
    work: Work,
    time: Time,
    worker_memory_bytes: int,
    price: common_pb2.Money | None,
    notes: list[str],
) -> common_pb2.Estimate:
    """`notes`: of memory, choices and prices."""
    passes = config.max_steps * config.rows_per_step / max(1, data.packed_row_count)
    rows = [
        f"{data.row_count} rows in {data.packed_row_count} packed rows of {config.max_length} tokens, "
        f"{data.padding_ratio:.1%} padding.",
        f"{config.max_steps} steps pass over the data {passes:.1f} times.",
        *filter(None, [lost_rows_note(data)]),
    ]
    return common_pb2.Estimate(
        cost=common_pb2.Cost(
            trained_token_count=work.tokens,
            flops=work.flops,
            compute_seconds=time.compute_seconds,
            wall_seconds=time.wall_seconds,
        ),
        worker_memory_bytes=worker_memory_bytes,
        step_count=config.max_steps,
        row_count=data.row_count,
        notes=[*rows, *notes, time.note],
        price=price,
    )
