"""A worker: this platform's engine, as a replica has it. `... FOLDER STORAGE SCRATCH`"""

import asyncio
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.inference.contender import work
from benchmarks.inference.stored import ref_of
from services.inference.engine.replica import Engine
from services.inference.settings import InferenceSettings
from services.inference.wire import ContextRef, ForgetCall, GenerateCall, PrefillCall, Refused, ScoreCall


class Ours:
    def __init__(self, folder: Path, storage: Path, scratch: Path) -> None:
        self._ref = ref_of(folder, storage)
        settings = InferenceSettings(
            storage=f"file://{storage}",
            scratch=scratch,
            cache_bytes=3 << 30,
            spill_bytes=0,
            model_bytes=8 << 30,
        )
        self._engine = Engine(settings)
        self._loop = asyncio.new_event_loop()
        self._context: ContextRef | None = None

    def read(self, documents: str) -> dict[str, Any]:
        """A context, anew; what was read of it before is forgotten."""
        self.forget()
        self._context = ContextRef(hashlib.sha256(documents.encode()).hexdigest(), documents)
        done = self._run(self._engine.prefill(PrefillCall(self._ref, self._context)))
        return {"cache_bytes": done.cache_bytes, "peak_bytes": peak_bytes()}

    def forget(self) -> None:
        if self._context:
            self._run(self._engine.forget(ForgetCall(self._context)))
        self._context = None

    def generate(self, prompts: list[str], max_tokens: int) -> dict[str, Any]:
        done = self._run(
            self._engine.generate(
                GenerateCall(self._ref, self._context, list(prompts), max_tokens=max_tokens)
            )
        )
        return {"texts": done.texts, "peak_bytes": peak_bytes()} | vars(done.spent)

    def score(self, items: list[list[Any]]) -> dict[str, Any]:
        call = ScoreCall(self._ref, self._context, [(prompt, choices) for prompt, choices in items])
        done = self._run(self._engine.score(call))
        return {"sums": [[total for total, _ in item] for item in done.items]} | vars(done.spent)

    def score_often(self, items: list[list[Any]], times: int) -> list[float]:
        """Seconds of each call."""
        return [self._timed(items) for _ in range(times)]

    def _timed(self, items: list[list[Any]]) -> float:
        began = time.perf_counter()
        self.score(items)
        return time.perf_counter() - began

    def _run(self, coroutine: Any) -> Any:
        answer = self._loop.run_until_complete(coroutine)
        if isinstance(answer, Refused):
            raise RuntimeError(answer)
        return answer


def peak_bytes() -> int:
    """Of this process. `ru_maxrss` would begin with what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    ours = Ours(*map(Path, sys.argv[1:4]))
    methods = ("read", "forget", "generate", "score", "score_often")
    work({name: getattr(ours, name) for name in methods})
