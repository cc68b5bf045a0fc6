"""A training that searches its learning rate, measures itself, and stops early: real Ray, Ray Tune and DeepSpeed."""

import asyncio
import random
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray
NAMES, ANIMALS = ("Alva", "Bo", "Cyd", "Dov", "Eno"), ("heron", "river", "fox", "mill")
DOCUMENTS = [
    {"id": str(n), "text": f"{a} feeds the {b}. The mill stands north of the {b}."}
    for n, (a, b) in enumerate((a, b) for a in NAMES for b in ANIMALS)
]


def probes():
    """Who reads no document guesses: one of two names."""
    draw = random.Random(1)
    rows = []
    for n, text in enumerate(row["text"] for row in DOCUMENTS):
        name, rest = text.split(" ", 1)
        other = draw.choice([one for one in NAMES if one != name])
        rows.append(
            {"id": f"p{n}", "kind": "forward", "prompt": rest, "answer": name, "choices": [name, other]}
        )
    return rows


async def test_the_best_of_three_rates_trains_and_the_best_step_is_kept(
    start_trainer, ray, build_checkpoint, datasets
):
    data, asked = datasets.put("facts", DOCUMENTS), datasets.put("probes", probes())
    async with start_trainer(**ray).client() as client:
        await (await client.models.upload(build_checkpoint("llama"), id="base")).result(300)
        operation = await client.models.create(
            "base",
            data,
            id="tuned",
            max_steps=24,
            bf16=False,
            evaluation={
                "eval_ratio": 0.2,
                "probes": asked,
                "eval_steps": 6,
                "metric_for_best_model": "eval_loss",
            },
            learning_rate_search={"learning_rates": [1e-5, 1.0, 0.003], "max_steps": 8},
        )
        stages = asyncio.create_task(stages_of(operation))
        live = [snapshot async for snapshot in client.models.watch("tuned")]
        model = await operation.result(300)
        told = await stages
    summary = model.summary
    assert summary.learning_rate == 0.003
    assert max(snapshot.learning_rate for snapshot in live) == pytest.approx(0.003)
    assert [m.step for m in summary.measurements] == [0, 6, 12, 18, 24]
    losses = {m.step: m.eval_loss for m in summary.measurements}
    assert losses[24] < losses[0] - 1
    assert summary.best_step == min((6, 12, 18, 24), key=losses.get)
    assert all(0 <= m.acc <= 1 for m in summary.measurements)
    assert [s.measurement.step for s in live if s.HasField("measurement")] == [6, 12, 18, 24]
    assert "searching" in told
    card = (Path(model.uri.removeprefix("file://")) / "README.md").read_text()
    assert "Learning-rate search" in card
    assert "| 1e-05 |" in card


async def stages_of(operation):
    return {metadata.stage async for metadata in operation.progress(300)}
