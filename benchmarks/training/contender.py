"""Processes that take turns, here with modules of this benchmark and an environment of TRL's own."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.inference import contender
from benchmarks.inference.contender import ROOT, work

__all__ = ["ROOT", "TRL_PYTHON", "Contender", "work"]
TRL_PYTHON = ROOT / "build" / "trl" / "bin" / "python"  # made by `make build/trl/bin/trl`
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DS_ACCELERATOR": "cpu",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}


class Contender(contender.Contender):
    """A worker module of this benchmark, told what it is to train: a `Task` as JSON."""

    def __init__(self, module: str, task: dict[str, Any], python: Path | str = sys.executable) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.training.{module}", json.dumps(task)],
            cwd=ROOT,
            env=os.environ | QUIET | of_a_ray(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._module = module


def of_a_ray() -> dict[str, str]:
    """Read when Ray is imported: a cluster with a secret of its own, which nobody else on the machine takes for theirs."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
