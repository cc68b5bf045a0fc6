"""Drafts are put to a model: answerable with the sources read, not without them, and with one right answer."""

import math
from collections.abc import Sequence
from dataclasses import replace

from ingrain import matching
from ingrain.v1 import inference_pb2
from services.evaluator.metrics import softmax
from services.evaluator.writing.drafts import (
    KNOWN_ALREADY,
    NOT_ANSWERABLE,
    SEVERAL_RIGHT,
    TURNED_ROUND,
    WRONG_KIND,
    Draft,
    Dropped,
)
from services.evaluator.writing.sources import Document

# With the sources read the right choice must be so much likelier than the next one: twice, in nats.
CLEAR = math.log(2)
# Without any document a right choice of this probability is known already.
KNOWN = 0.9
LIST_F1 = 0.8  # of a list that is written with the sources read


def read_with(documents: Sequence[Document], prompt: str) -> str:
    """As inference renders documents in a context."""
    texts = list(dict.fromkeys(document.text for document in documents))
    return "\n".join(texts) + f"\n\n{prompt}"


def score_items(draft: Draft) -> list[inference_pb2.ScoreItem]:
    """With the sources, without, then a statement and its exchange, or a question with each of several sources alone.

    The right choice comes first.
    """
    choices = [draft.right, *draft.wrong]
    items = [
        inference_pb2.ScoreItem(
            prompt=read_with((*draft.sources, *draft.beside), draft.prompt), choices=choices
        ),
        inference_pb2.ScoreItem(prompt=draft.prompt, choices=choices),
    ]
    if draft.exchanged:
        items.append(inference_pb2.ScoreItem(prompt=read_with(draft.sources, ""), choices=draft.exchanged))
    elif draft.kind == "cross_document":
        for source in draft.sources:
            items.append(inference_pb2.ScoreItem(prompt=read_with([source], draft.prompt), choices=choices))
    return items


def scored(draft: Draft, sums: Sequence[Sequence[float]]) -> Draft:
    """The draft with its numbers, `sums` being those of `score_items`. Raises Dropped."""
    with_sources, without = (_margin(values) for values in sums[:2])
    known = softmax(sums[1])[0]
    if draft.exchanged and sums[2][1] > sums[2][0]:
        raise Dropped(TURNED_ROUND)
    # What one document says nobody has to combine.
    if not draft.exchanged and any(_margin(values) >= CLEAR for values in sums[2:]):
        raise Dropped(WRONG_KIND)
    if with_sources <= 0:
        raise Dropped(NOT_ANSWERABLE)
    if with_sources < CLEAR:
        raise Dropped(SEVERAL_RIGHT)
    # What the documents do not say, nobody can know from them.
    if draft.kind != "unanswerable" and without > 0 and (without >= with_sources or known >= KNOWN):
        raise Dropped(KNOWN_ALREADY)
    checks = {
        "margin_with_sources": round(with_sources, 4),
        "margin_without": round(without, 4),
        "probability_without": round(known, 4),
    }
    return replace(draft, checks=checks)


def list_prompts(draft: Draft) -> list[str]:
    """Of a list: with the sources, and without."""
    return [read_with(draft.sources, draft.prompt), draft.prompt]


def listed(draft: Draft, outputs: Sequence[str]) -> Draft:
    """The list with its numbers, `outputs` being what was written after `list_prompts`. Raises Dropped."""
    with_sources, without = (matching.list_match(text, draft.answers)["f1"] for text in outputs)
    if with_sources < LIST_F1:
        raise Dropped(NOT_ANSWERABLE)
    if without >= with_sources:
        raise Dropped(KNOWN_ALREADY)
    checks = {"f1_with_sources": round(with_sources, 4), "f1_without": round(without, 4)}
    return replace(draft, checks=checks)


def _margin(sums: Sequence[float]) -> float:
    """Of the first over the best of the others."""
    return sums[0] - max(sums[1:])
