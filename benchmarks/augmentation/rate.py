"""How much of the engine's raw rate a derivation keeps, and what near duplicates take of its time."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.augmentation.derivations import Rows, derive, prompts_of
from benchmarks.inference import stored
from benchmarks.inference.contender import ROOT, Contender
from benchmarks.inference.hop import model_that_answers
from benchmarks.inference.paired import ratio
from benchmarks.inference.parts import Found, Line
from benchmarks.inference.platform import Running, platform
from services.augmenter.gates import near_duplicates

SMALL = ROOT / "models" / "small"
DOCUMENTS, WRITTEN, THRESHOLD = 1_000, 24, 0.8
SPEC: dict[str, Any] = {
    "strategies": ["rephrase", "reverse", "infer"],
    "temperature": 0.0,
    "max_tokens": WRITTEN,
}
GOAL, GOAL_SHARE = 0.95, 0.01
KINDS = ("bigger", "heavier", "older", "faster")


def rate(pairs: int, tiny: bool) -> Found:
    """The same prompts in one call of the engine, in a process of its own."""
    count = 20 if tiny else DOCUMENTS
    with tempfile.TemporaryDirectory(prefix="ingrain-bench-") as folder:
        storage, scratch = Path(folder) / "storage", Path(folder) / "scratch"
        stored.store(SMALL, storage)
        with Contender("ours", SMALL, storage, scratch) as direct, platform() as running:
            measured, facts = asyncio.run(_turns(running, direct, count, pairs))
    ours, theirs = (min(times) for times in zip(*measured, strict=True))
    line = Line(
        f"{3 * count:,} prompts, at most {WRITTEN} tokens each", ours, theirs, ratio(measured), None, GOAL
    )
    said = (
        f"AugmentDataset of {count:,} facts by three local strategies, greedy, over gateway, augmenter and inference, from the request until the "
        "derived dataset can be used; the other is one call of the engine with all prompts. The ratio is the derivation's share of the engine's own "
        "rate. Bundled model."
    )
    return Found("A derivation against the engine", said, [line], facts)


async def _turns(
    running: Running, direct: Contender, count: int, pairs: int
) -> tuple[list[tuple[float, float]], dict[str, Any]]:
    async with running.gateway() as client:
        model = await model_that_answers(client)
        warm = documents(-1, 32)
        direct.turn("generate", prompts=prompts_of(warm, **SPEC), max_tokens=WRITTEN)
        await derive(client, model, "warm", warm, **SPEC)
        measured, statements, known = [], [], 0.0
        for number in range(pairs):
            rows = documents(number, count)
            prompts = prompts_of(rows, **SPEC)
            alone: Any = asyncio.to_thread(direct.turn, "generate", prompts=prompts, max_tokens=WRITTEN)
            if number % 2:
                (theirs, answer), (ours, made) = (
                    await alone,
                    await derive(client, model, f"n{number}", rows, **SPEC),
                )
            else:
                ours, made = await derive(client, model, f"n{number}", rows, **SPEC)
                theirs, answer = await alone
            measured.append((ours, theirs))
            texts = [row["text"] async for row in client.datasets.rows(made.name)]
            statements = [line.strip() for text in answer["texts"] for line in text.splitlines()]
            known += sum(text in statements for text in texts) / len(texts) / pairs
        began = time.perf_counter()
        near_duplicates(statements, THRESHOLD)
        share = (time.perf_counter() - began) / measured[-1][0]
    facts = {
        "share of derived rows that the engine alone wrote too": f"{known:.3f}",
        f"near duplicates among the last {len(statements):,} statements, share of the derivation's time": (
            f"{share:.4f} (goal: under {GOAL_SHARE})"
        ),
    }
    return measured, facts


def documents(turn: int, count: int) -> Rows:
    """Facts that no other turn has."""
    return [
        {"id": f"d{n}", "text": f"fen{turn + 1}x{n} are {KINDS[n % 4]} than tor{turn + 1}x{n}."}
        for n in range(count)
    ]
