"""What it was measured on."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.inference.contender import ROOT

PACKAGES = ("torch", "transformers", "ray", "grpcio")


def describe() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {key.strip(): value.strip() for key, value in told.items()}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in told.get("flags", "")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "processor": f"{told.get('model name', platform.machine())}, {os.cpu_count()} cores, {' '.join(flags)}",
        "memory": f"{memory} GiB",
        "load before": round(os.getloadavg()[0], 2),
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
        "python": platform.python_version(),
        "fp32 GEMM of one thread (GFLOP/s, best)": gemm_peak(),
    }


def gemm_peak(size: int = 1024, tries: int = 12) -> float:
    import torch

    torch.set_num_threads(1)
    left, right = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return round(2 * size**3 / best / 1e9, 1)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
