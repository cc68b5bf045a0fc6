"""A derivation against the loop that anybody writes first: transformers' `generate`, a prompt at a time."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.augmentation.derivations import derive, prompts_of
from benchmarks.inference import material
from benchmarks.inference.contender import ROOT, Contender
from benchmarks.inference.hop import model_that_answers
from benchmarks.inference.material import Texts
from benchmarks.inference.paired import ratio
from benchmarks.inference.parts import Found, Line
from benchmarks.inference.platform import platform

WRITTEN = 32
LOCAL: dict[str, Any] = {"strategies": ["rephrase", "reverse_words"]}
WHOLE: dict[str, Any] = {"strategies": ["link", "reverse_words"]}
SPEC: dict[str, Any] = {"temperature": 0.0, "max_tokens": WRITTEN}
GOAL_LOCAL, GOAL_WHOLE, GOAL_HITS = 2.0, 8.0, 0.97
RANDOM = "A Llama shape of 135 million random weights; what it writes falls to the gates, so that the dataset holds rows of a strategy without a model."


def local(pairs: int, tiny: bool) -> Found:
    """One document in sight."""
    count, tokens, timed = (8, 20, 1) if tiny else (64, 120, 8)
    measured, _ = asyncio.run(_turns(LOCAL, count, tokens, timed, pairs, in_sight=False, tiny=tiny))
    said = (
        f"{count} documents of {tokens} tokens, `rephrase`, {WRITTEN} tokens written, over the whole platform. The other asks {timed} of the prompts one "
        f"after the other in each turn, and its time is multiplied. {RANDOM}"
    )
    line = _line(f"{count} documents, one in sight", measured, GOAL_LOCAL)
    return Found("Local augmentation against a loop of `generate`", said, [line])


def whole(pairs: int, tiny: bool) -> Found:
    """All documents in the context, one in focus."""
    count, tokens = (4, 20) if tiny else (64, 64)
    measured, facts = asyncio.run(_turns(WHOLE, count, tokens, 1, pairs, in_sight=True, tiny=tiny))
    said = (
        f"{count} documents of {tokens} tokens, all of them in the context and one in focus: `link`, {WRITTEN} tokens written, reading included. The other reads "
        f"the documents before each prompt; one prompt of it is timed a turn and multiplied, for it shares nothing. {RANDOM}"
    )
    line = _line(f"{count} documents, {count * tokens:,} tokens in sight", measured, GOAL_WHOLE)
    return Found("Global augmentation against a loop of `generate`", said, [line], facts)


async def _turns(
    strategies: dict[str, Any],
    count: int,
    tokens: int,
    timed: int,
    pairs: int,
    *,
    in_sight: bool,
    tiny: bool,
) -> tuple[list[tuple[float, float]], dict[str, Any]]:
    spec = {**SPEC, **strategies}
    with tempfile.TemporaryDirectory(prefix="ingrain-bench-") as root:
        folder = ROOT / "models" / "small" if tiny else Path(root) / "model"
        if not tiny:
            material.make_model(folder)
        with Contender("peer_generate", folder) as loop, platform() as running:
            async with running.gateway() as client:
                await model_that_answers(client)
                model = (await (await client.models.import_(folder, "shape")).result(600)).name
                texts = Texts(folder, seed=7)
                warm = [{"id": "w", "text": texts.of(tokens)}]
                await derive(client, model, "warm", warm, **{**spec, "strategies": LOCAL["strategies"]})
                loop.turn("generate", prompts=[texts.of(tokens)], max_tokens=2)
                measured, hits = [], []
                for number in range(max(2, pairs - 2)):
                    rows = [{"id": f"d{n}", "text": texts.of(tokens)} for n in range(count)]
                    prompts = prompts_of(rows, **spec)[:timed]
                    documents = "\n".join(row["text"] for row in rows) if in_sight else ""
                    alone: Any = asyncio.to_thread(
                        loop.turn, "generate", prompts=prompts, max_tokens=WRITTEN, documents=documents
                    )
                    if number % 2:
                        (theirs, _), (ours, made) = (
                            await alone,
                            await derive(client, model, f"n{number}", rows, **spec),
                        )
                    else:
                        ours, made = await derive(client, model, f"n{number}", rows, **spec)
                        theirs, _ = await alone
                    measured.append((ours, theirs * count / timed))
                    if in_sight:
                        context = (await anext(aiter(client.contexts.list()))).token_count
                        hits.append(made.provenance.cost.cached_token_count / (count * context))
    facts = {}
    if hits:
        least, most = min(hits), max(hits)
        facts["prefix hits of the greatest possible"] = (
            f"{least:.4f} to {most:.4f} (goal {GOAL_HITS}): cached tokens above tokens of the context times prompts"
        )
    return measured, facts


def _line(what: str, measured: list[tuple[float, float]], goal: float) -> Line:
    ours, theirs = (min(times) for times in zip(*measured, strict=True))
    return Line(what, ours, theirs, ratio(measured), None, goal)
