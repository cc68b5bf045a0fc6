"""How much of the engine's raw rate a batch keeps, from its creation to its answers in storage."""

import asyncio
import time
from typing import Any

from benchmarks.inference import stored
from benchmarks.inference.contender import ROOT, Contender
from benchmarks.inference.hop import model_that_answers
from benchmarks.inference.paired import ratio
from benchmarks.inference.parts import Found, Line, Place
from benchmarks.inference.platform import Running, platform
from ingrain import AsyncClient

SMALL = ROOT / "models" / "small"
PROMPTS, WRITTEN = 4_000, 24
GOAL = 0.9


def bulk(place: Place, pairs: int) -> Found:
    """The same prompts in one call of the engine, in a process of its own."""
    prompts = [f"Did you know that the bralo number {number} is" for number in range(PROMPTS)]
    storage = place.storage.parent / "small"
    stored.store(SMALL, storage)
    with Contender("ours", SMALL, storage, place.scratch / "small") as direct, platform() as running:
        measured = asyncio.run(_turns(running, direct, prompts, pairs))
    ours, theirs = (min(times) for times in zip(*measured, strict=True))
    line = Line(f"{PROMPTS} prompts, {WRITTEN} tokens each", ours, theirs, ratio(measured), None, GOAL)
    said = (
        "A batch over the platform, from the request until its dataset of answers is there, with all that is paid once for it; the other is one call of "
        "the engine with all prompts. The ratio is the batch's share of the engine's own rate. Bundled model, fp32, one thread each."
    )
    return Found("Bulk against the engine", said, [line])


async def _turns(
    running: Running, direct: Contender, prompts: list[str], pairs: int
) -> list[tuple[float, float]]:
    async with running.gateway() as client:
        model = await model_that_answers(client)
        rows = [{"id": str(number), "prompt": prompt} for number, prompt in enumerate(prompts)]
        dataset = await client.datasets.upload(rows, id="asked")
        direct.turn("generate", prompts=prompts[:64], max_tokens=WRITTEN)
        await client.generate(model, prompts[:64], max_tokens=WRITTEN)
        measured = []
        for number in range(pairs):
            alone: Any = asyncio.to_thread(direct.turn, "generate", prompts=prompts, max_tokens=WRITTEN)
            if number % 2:
                theirs, ours = (await alone)[0], await _batch(client, model, dataset.name, number)
            else:
                ours = await _batch(client, model, dataset.name, number)
                theirs = (await alone)[0]
            measured.append((ours, theirs))
        return measured


async def _batch(client: AsyncClient, model: str, dataset: str, number: int) -> float:
    began = time.perf_counter()
    operation = await client.batches.create(model, dataset, f"b-{number}", max_tokens=WRITTEN)
    await operation.result(1800)
    return time.perf_counter() - began
