"""Tokens of texts, by the tokenizer of the model that writes."""

from collections.abc import Sequence
from functools import partial

from ingrain import AsyncClient
from ingrain.v1 import inference_pb2, trainer_pb2
from servicekit.patience import Patience
from services.augmenter.planning import MESSAGE_BYTES
from services.augmenter.sight import Room
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document
from services.augmenter.strategies.base import ALL_DOCUMENTS, SUBJECT_AMONG_ALL

MOST_TEXTS = 4096  # of one call
FRAME_TOKENS = 64  # what marks of beginnings and a chat's frame may take


async def counts_of(
    client: AsyncClient, model: str, texts: Sequence[str], patience: Patience | None = None
) -> list[int]:
    """Of each text; 0 for all where no model is named. Without `patience` an engine that is full or away is raised at once."""
    ask = (patience or Patience(0.0)).ask
    if not model:
        return [0] * len(texts)
    counts: list[int] = []
    for start, end in runs([len(text.encode()) for text in texts]):
        request = inference_pb2.CountTokensRequest(model=model, texts=texts[start:end])
        answer = await ask(partial(client.stubs.inference.CountTokens, request))
        counts += answer.token_counts
    return counts


def runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Beginnings and ends of runs that fit a message each."""
    found: list[tuple[int, int]] = []
    start = run_bytes = 0
    for place, size in enumerate(sizes):
        if place > start and (run_bytes + size > MESSAGE_BYTES or place - start == MOST_TEXTS):
            found.append((start, place))
            start, run_bytes = place, 0
        run_bytes += size
    return [*found, (start, len(sizes))] if sizes else []


async def room_of(
    client: AsyncClient,
    model: trainer_pb2.Model,
    spec: Spec,
    documents: Sequence[Document],
    patience: Patience | None = None,
) -> Room | None:
    """What a prompt may hold beside what is written to it; None where the window is not known or nothing reads a group.
    `patience` as in `counts_of`."""
    reads = any(spec.strategy(name).sees in (ALL_DOCUMENTS, SUBJECT_AMONG_ALL) for name in spec.strategies)
    if not model.context_window or not reads:
        return None
    counts = await counts_of(client, model.name, [document.text for document in documents], patience)
    by_id = {document.id: count for document, count in zip(documents, counts, strict=True)}
    written = min(
        spec.max_tokens, model.context_window // 2
    )  # more could not be written to a prompt of any use
    return Room(model.context_window - written - FRAME_TOKENS, by_id)
