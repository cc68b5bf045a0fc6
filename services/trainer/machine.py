"""The memory and the device that a training worker has, as far as this process can know it without torch."""

import functools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ingrain.units import size
from services.trainer.config import TrainingConfig
from services.trainer.kuberay import RayJob, gpus_of, read_template
from services.trainer.settings import TrainerSettings

WORKERS_SHARE = 0.8  # of a machine's memory; the rest is the platform's
IMPORTS_BYTES = 900 << 20  # of a worker before its model: torch, DeepSpeed, transformers, Ray
GPU_CONTEXT_BYTES = 1200 << 20  # of a GPU, for CUDA itself and what no allocator sees
ASSUMED_GPU_BYTES = 79 << 30  # of a GPU on a node that is not there yet: one that is sold as 80 GB


@dataclass(frozen=True)
class Machine:
    """One machine with all workers on it, or one of several; unless the operator says what each worker has."""

    memory_bytes: int  # of the machine; 0 where unknown
    gpu_bytes: int = 0  # of one GPU; 0 where there is none
    device: str = "cpu"  # as Environment.device has it
    given_bytes: int = 0  # what the operator says that a worker has; 0: reckoned
    bf16_cpu: bool = False  # whether the processor multiplies bfloat16 itself
    most_workers: int = 0  # on one machine, further ones being on others; 0: all of them
    assumed: bool = False  # whether nobody has seen its GPU

    @property
    def gpu(self) -> bool:
        return self.gpu_bytes > 0

    @property
    def source(self) -> str:
        """Where the number comes from."""
        if self.given_bytes:
            return "by INGRAIN_WORKER_MEMORY_BYTES"
        if self.assumed:
            return "what a GPU is taken to have until INGRAIN_WORKER_MEMORY_BYTES says more"
        return "the GPU's memory" if self.gpu else f"its share of {WORKERS_SHARE:.0%} of the machine's memory"

    def worker_bytes(self, workers: int) -> int:
        """Above its imports, of the device."""
        if self.given_bytes:
            return self.given_bytes
        if self.gpu:
            return max(0, self.gpu_bytes - GPU_CONTEXT_BYTES)
        return self.host_bytes(workers)

    def worker_has(self, workers: int) -> str:
        """The same in words, and why."""
        if there := self.worker_bytes(workers):
            return f"{size(there)} ({self.source})"
        if self.gpu:
            return f"nothing ({self.source} is {size(self.gpu_bytes)}, and CUDA itself takes {size(GPU_CONTEXT_BYTES)})"
        share = size(WORKERS_SHARE * self.memory_bytes / self.beside(workers))
        return f"nothing ({self.source} is {share}, and its imports take {size(IMPORTS_BYTES)})"

    def host_bytes(self, workers: int) -> int:
        """Above its imports, of the machine's memory."""
        if not self.memory_bytes:
            return 1 << 62
        return max(0, int(WORKERS_SHARE * self.memory_bytes / self.beside(workers)) - IMPORTS_BYTES)

    def beside(self, workers: int) -> int:
        """Workers on one machine, of a training that has so many."""
        return min(workers, self.most_workers or workers)

    def bf16(self, config: TrainingConfig) -> bool:
        """As the worker will decide it."""
        return config.bf16 if config.bf16 is not None else self.gpu or self.bf16_cpu


def machine_of(settings: TrainerSettings) -> Machine:
    """A node of the template where there is one, else this machine; with Ray elsewhere the operator's numbers (`worker_memory_bytes`) say more."""
    if settings.ray_job_template:
        return node_of(read_template(settings.ray_job_template), settings)
    gpu_bytes, device = gpu()
    return Machine(
        memory_bytes=total_memory(),
        gpu_bytes=gpu_bytes,
        device=device,
        given_bytes=settings.worker_memory_bytes,
        bf16_cpu=bool(processor_flags() & {"avx512_bf16", "amx_tile"}),
    )


def node_of(template: RayJob, settings: TrainerSettings) -> Machine:
    """A node for workers that Kubernetes is asked for. Its GPU's memory is what the operator says, else assumed."""
    from kubernetes.utils.quantity import parse_quantity

    (group,) = template["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0].get("resources", {})
    limit = resources.get("limits", {}).get("memory") or resources.get("requests", {}).get("memory", 0)
    gpus = gpus_of(group)
    return Machine(
        memory_bytes=int(parse_quantity(limit)),
        gpu_bytes=ASSUMED_GPU_BYTES if gpus else 0,
        device="GPU" if gpus else "cpu",
        given_bytes=settings.worker_memory_bytes,
        most_workers=max(1, gpus),
        assumed=bool(gpus),
    )


@functools.cache
def total_memory() -> int:
    """The machine's, or the control group's where that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    total = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:")), 0)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


@functools.cache
def processor_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.split(":")[1] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )


@functools.cache
def gpu() -> tuple[int, str]:
    """Bytes and name of the smallest GPU, as NVIDIA's driver says; `(0, "cpu")` where there is none."""
    if shutil.which("nvidia-smi") is None:
        return 0, "cpu"
    command = ["nvidia-smi", "--query-gpu=memory.total,name", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        found = [line.split(", ", 1) for line in said.splitlines()]
        return min(((int(mebibytes) << 20, name.strip()) for mebibytes, name in found), default=(0, "cpu"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0, "cpu"
