"""How long one question takes, asked alone, over the same road as a user's."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import inference_pb2
from services.studies.coverage import groups

ASKED = 20
MOST_GROUPS = 2  # contexts that are read for it where no cache holds them
ANSWER_TOKENS = 64
QUESTION = "Question: {question}\nAnswer:"  # as the evaluator asks

Row = Mapping[str, Any]


def sampled(rows: Sequence[Row], group_key: str) -> list[Row]:
    """Of the first groups, evenly over their probes."""
    of = groups(rows, group_key)
    first = list(dict.fromkeys(of))[:MOST_GROUPS]
    chosen = [row for row, group in zip(rows, of, strict=True) if group in first]
    return chosen[:: max(1, len(chosen) // ASKED)][:ASKED]


async def measure(
    client: AsyncClient,
    model: str,
    contexts: Mapping[str, str] | None,
    group_key: str,
    rows: Sequence[Row],
    writes: bool,
) -> list[float]:
    """Seconds of each of the rows. `contexts`: names by group, read before; None: none. `writes`: answers are written,
    whether there are choices or not.
    """
    seconds = []
    warm: set[str] = set()
    for row, group in zip(rows, groups(rows, group_key), strict=True):
        context = "" if contexts is None else contexts.get(group, "")
        if contexts is not None and not context:
            continue
        if context not in warm:  # the model is loaded now, and its cache holds the context
            await _ask(client, model, context, row, writes)
            warm.add(context)
        began = time.monotonic()
        await _ask(client, model, context, row, writes)
        seconds.append(time.monotonic() - began)
    return seconds


async def _ask(client: AsyncClient, model: str, context: str, row: Row, writes: bool) -> None:
    stubs = client.stubs.inference
    if "choices" in row and not writes:
        item = inference_pb2.ScoreItem(prompt=row["prompt"], choices=row["choices"])
        await stubs.Score(inference_pb2.ScoreRequest(model=model, context=context, items=[item]))
        return
    prompt = row["prompt"] if "choices" in row else QUESTION.replace("{question}", row["question"])
    request = inference_pb2.GenerateRequest(
        model=model, context=context, prompts=[prompt], max_tokens=ANSWER_TOKENS, stop=["\n"]
    )
    await stubs.Generate(request)
