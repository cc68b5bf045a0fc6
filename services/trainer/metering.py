"""What a training uses while it runs: processor seconds, tokens a second, model-FLOP utilisation, memory.

Model-FLOP utilisation (MFU; Chowdhery et al. 2022, appendix B), of all workers over the last steps:

    MFU = FLOPs of those steps / (their wall seconds * workers * FLOP/s of one worker's measured matrix multiplication)
    FLOPs of a step = k * N * tokens + 12 * layers * width * (positions that its tokens look at)

with N the base model's parameters, tokens without padding, k = 6 for full fine-tuning and 4 for adapters, whose frozen base gets no
weight gradients. What gradient checkpointing computes again does not count.
"""

import functools
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from servicekit.costs import training_flops
from services.trainer.config import TrainingConfig

LAST_STEPS = 20
PEAK_SECONDS = 0.15  # how long the matrix multiplication is measured
PEAK_SIZE = {"cpu": 512, "cuda": 8192}


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
        return reduced(self.now() - self.start, self.device, dist.ReduceOp.SUM)


@dataclass(frozen=True)
class ModelFlops:
    """The shape that a step's operations follow from."""

    parameter_count: int  # of the base model, tied ones once
    adapter_parameter_count: int  # 0: all are trained
    layer_count: int
    hidden_size: int

    @staticmethod
    def of(module: Any, config: TrainingConfig) -> "ModelFlops":
        """`module`: the model with its adapters, as the engine holds it."""
        shape = module.config.get_text_config()
        lora = config.method == "lora"
        whole = trained = 0
        for parameter in module.parameters():
            count = size_of(parameter)
            whole += count
            trained += count if parameter.requires_grad else 0
        return ModelFlops(
            whole - trained if lora else whole,
            trained if lora else 0,
            shape.num_hidden_layers,
            shape.hidden_size,
        )

    def of_step(self, tokens: int, looked_at: int) -> float:
        """`looked_at`: positions that the tokens attend to, summed over them (1 for a segment's first one)."""
        return training_flops(
            self.parameter_count,
            self.layer_count,
            self.hidden_size,
            tokens,
            looked_at=looked_at,
            adapter_parameter_count=self.adapter_parameter_count,
        )


def size_of(parameter: torch.Tensor) -> int:
    """DeepSpeed's partitioned parameters remember their size; bitsandbytes packs two 4-bit ones into a byte."""
    count = getattr(parameter, "ds_numel", parameter.numel())
    return 2 * count if type(parameter).__name__ == "Params4bit" else count


class Meter(ComputeMeter):
    """One worker's. Make it when everything is imported and before the model is loaded: memory counts from there."""

    def __init__(self, device: torch.device, world: int, bf16: bool) -> None:
        super().__init__(device, world)
        self.peak_flops = peak_gemm_flops(device.type, bf16)
        self.base_memory_bytes = start_memory(device)
        self.flops: ModelFlops | None = None
        self.last: deque[Step] = deque(maxlen=LAST_STEPS)
        self.whole = Step(0.0, 0.0, 0, 0.0)  # of all steps but the first
        self.count = 0
        self.begun = self.now()

    def model(self, module: Any, config: TrainingConfig) -> None:
        """Says what is trained; steps before it have no utilisation."""
        self.flops = ModelFlops.of(module, config)

    def begin_step(self) -> None:
        self.begun = self.now()

    def step(self, seconds: float, tokens: int, looked_at: int, steps_left: int) -> dict[str, float]:
        """Takes a step down that took `seconds` on the wall since `begin_step`; what its progress line says of the last steps."""
        flops = self.flops.of_step(tokens, looked_at) if self.flops else 0.0
        done = Step(seconds, self.now() - self.begun, tokens, flops)
        self.count += 1
        if self.count == 1:
            # The first step compiles and allocates: it is told, and counts in nothing that comes after it.
            return self.told(done, 1, steps_left)
        self.last.append(done)
        self.whole += done
        return self.told(functools.reduce(Step.__add__, self.last), len(self.last), steps_left)

    def told(self, steps: "Step", count: int, steps_left: int) -> dict[str, float]:
        told = {
            "tokens_per_second": steps.tokens / steps.seconds,
            "remaining_s": steps_left * steps.seconds / count,
        }
        if steps.flops:
            told["mfu"] = self.utilization(steps)
        return told

    def utilization(self, steps: "Step") -> float:
        return steps.flops / (steps.seconds * self.world * self.peak_flops)

    def result(self) -> dict[str, Any]:
        """What `result.json` says of the steps after the first, of one worker: processor seconds and operations of a step, utilisation,
        memory. A collective."""
        count = self.count - 1
        found: dict[str, Any] = {"worker_memory_bytes": self.memory_bytes()}
        busy = reduced(self.whole.busy, self.device, dist.ReduceOp.SUM)
        if count > 0:
            found["step_seconds"] = busy / (count * self.world)
            found["step_flops"] = self.whole.flops / count
            if self.whole.flops:
                found["mfu"] = self.utilization(self.whole)
        return found

    def memory_bytes(self) -> int:
        """Most that one worker held so far above where it began. A collective."""
        used = peak_memory(self.device) - self.base_memory_bytes
        return int(reduced(float(used), self.device, dist.ReduceOp.MAX))


@dataclass(frozen=True)
class Step:
    """One step, or some together."""

    seconds: float  # on the wall
    busy: float  # of this worker's processor, or of its GPU
    tokens: int
    flops: float

    def __add__(self, other: "Step") -> "Step":
        return Step(
            self.seconds + other.seconds,
            self.busy + other.busy,
            self.tokens + other.tokens,
            self.flops + other.flops,
        )


def reduced(value: float, device: torch.device, how: Any) -> float:
    tensor = torch.tensor([value], device=device, dtype=torch.float64)
    dist.all_reduce(tensor, how)
    return tensor.item()


@functools.cache
def peak_gemm_flops(device: str, bf16: bool) -> float:
    """FLOP/s of the best of some square matrix multiplications with this process's threads; measured once. Processor seconds
    count, so that work beside it does not lower the peak."""
    size = PEAK_SIZE[device]
    dtype = torch.bfloat16 if bf16 else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, deadline = float("inf"), time.perf_counter() + PEAK_SECONDS
    with torch.inference_mode():
        while time.perf_counter() < deadline or best == float("inf"):
            started = busy_seconds(device)
            torch.nn.functional.linear(left, right)
            best = min(best, busy_seconds(device) - started)
    return 2.0 * size**3 / best


def busy_seconds(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def start_memory(device: torch.device) -> int:
    """Bytes held now; the peak is counted from here on."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_reserved(device)
    # 5 puts the process's high-water mark back to what it holds (proc(5)); where that is not allowed, imports count.
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return status_bytes("VmHWM")
    return status_bytes("VmRSS")


def peak_memory(device: torch.device) -> int:
    """Most bytes held since `start_memory`: of the GPU as torch reserved them, else resident."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else status_bytes("VmHWM")


def status_bytes(name: str) -> int:
    """A line of /proc/self/status; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
