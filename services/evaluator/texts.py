"""Texts as wholes: cut into windows that a model can read, each read after the mark that begins texts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ingrain import AsyncClient
from ingrain.v1 import inference_pb2, trainer_pb2
from servicekit.errors import Invalid
from services.evaluator.probes import Probe

MESSAGE_BYTES = 3 << 20  # of texts in a message
MOST_TEXTS = 512
_SPACE = re.compile(r"(?<=\S)\s")


async def in_windows(
    client: AsyncClient, model: trainer_pb2.Model, window: int, texts: Sequence[Probe]
) -> list[Probe]:
    """The texts in disjoint windows of at most `window` tokens, cut before white space, where a token begins.

    Raises Invalid for one that is longer and has no white space to be cut at.
    """
    pieces = [[text.text] for text in texts]
    unsure = list(range(len(texts)))
    while unsure:
        flat = [(index, piece) for index in unsure for piece in pieces[index]]
        counts = await count_tokens(client, model.name, [piece for _, piece in flat])
        again: dict[int, list[str]] = {index: [] for index in unsure}
        cut: set[int] = set()
        for (index, piece), count in zip(flat, counts, strict=True):
            if count <= window:
                again[index].append(piece)
                continue
            halves = in_half(piece)
            if halves is None:
                raise Invalid(
                    "TEXT_TOO_LONG",
                    f"text {texts[index].id!r} (row {index + 1}) has a stretch of {count} tokens without white space "
                    f"and {model.name} can read {window} at once; cut it into several rows",
                    field=f"rows[{index}].text",
                    row=index + 1,
                    token_count=count,
                )
            again[index].extend(halves)
            cut.add(index)
        for index in unsure:
            pieces[index] = again[index]
        unsure = sorted(cut)
    return [replace(text, windows=tuple(parts)) for text, parts in zip(texts, pieces, strict=True)]


def in_half(text: str) -> tuple[str, str] | None:
    """Cut before the white space that is nearest the middle, with text on both sides; None where there is none."""
    middle, last = len(text) / 2, len(text.rstrip())
    places = [found.start() for found in _SPACE.finditer(text) if found.start() < last]
    if not places:
        return None
    cut = min(places, key=lambda place: abs(place - middle))
    return text[:cut], text[cut:]


def in_messages(texts: Sequence[str]) -> Iterator[list[str]]:
    """Runs of texts that fit a message."""
    run: list[str] = []
    size = 0
    for text in texts:
        text_bytes = len(text.encode())
        if run and (len(run) == MOST_TEXTS or size + text_bytes > MESSAGE_BYTES):
            yield run
            run, size = [], 0
        run.append(text)
        size += text_bytes
    if run:
        yield run


def word_count(text: str) -> int:
    """As lm-evaluation-harness counts: pieces between white space."""
    return len(re.split(r"\s+", text))


async def count_tokens(client: AsyncClient, model: str, texts: Sequence[str]) -> list[int]:
    """As the model would read them, however many they are."""
    counts: list[int] = []
    for run in in_messages(texts):
        request = inference_pb2.CountTokensRequest(model=model, texts=run)
        counts.extend((await client.stubs.inference.CountTokens(request)).token_counts)
    return counts
