"""Processes that take turns: a task as a line of JSON in, seconds and result as a line of JSON out."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOOL_PYTHON = ROOT / "build" / "lm-eval" / "bin" / "python"  # made by `make build/lm-eval/bin/lm_eval`


class Contender(AbstractContextManager["Contender"]):
    """A worker module, run by an interpreter; `turn` waits for its answer."""

    def __init__(
        self,
        module: str,
        *arguments: object,
        python: Path | str = sys.executable,
        package: str = "benchmarks.inference",
    ) -> None:
        offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [str(python), "-m", f"{package}.{module}", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | offline,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._module = module

    def turn(self, do: str, **given: Any) -> tuple[float, Any]:
        """Seconds of the work itself, and what it answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"do": do} | given), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended at {do!r}; what it said stands above")
        answer = json.loads(line)
        return answer["seconds"], answer["result"]

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def work(methods: dict[str, Callable[..., Any]]) -> None:
    """A worker's life. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        task = json.loads(line)
        method = methods[task.pop("do")]
        began = time.perf_counter()
        result = method(**task)
        print(
            json.dumps({"seconds": time.perf_counter() - began, "result": result}), file=answers, flush=True
        )
