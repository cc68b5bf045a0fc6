"""A long context is read in parts: memory grows by its keys and values, and by nothing that grows with its length."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

TOKENS = 16_384  # whose scores of all pairs would take 4 GiB in a layer of the model below


def test_a_long_context_is_read_in_flat_memory(tmp_path: Path) -> None:
    """In a process of its own: memory is what it has at most over its life."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=300, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["tokens"] > TOKENS
    assert told["grown_mb"] < 3 * told["cache_mb"] + 50


async def main(folder: Path) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).parent))
    import tiny

    from services.inference.engine.replica import Engine
    from services.inference.settings import InferenceSettings
    from services.inference.wire import ContextRef, PrefillCall

    tiny.make_model(folder / "model", "llama")
    uri, sha256 = tiny.publish(folder / "model", folder / "storage", "projects/p/models/m/a")
    ref = replace(tiny.describe("m", uri, sha256), context_window=2 * TOKENS)
    engine = Engine(InferenceSettings(storage=f"file://{folder}/storage", scratch=folder / "scratch"))
    short = await engine.prefill(PrefillCall(ref, ContextRef("short", "the bralo " * 512)))
    assert short.token_count
    base = memory_kb("VmHWM")
    read: Any = await engine.prefill(PrefillCall(ref, ContextRef("long", "the bralo " * (TOKENS // 2 + 1))))
    grown = memory_kb("VmHWM") - base
    return {"tokens": read.token_count, "cache_mb": read.cache_bytes >> 20, "grown_mb": grown >> 10}


def memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
