"""How many tokens are read: of documents as they stand in a context, and of questions."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import inference_pb2, trainer_pb2
from services.studies.coverage import groups

_TEXT_BYTES = 512 << 10  # a piece of a context whose tokens are counted at once
_CALL_BYTES = 2 << 20
_CALL_TEXTS = 4096

Row = Mapping[str, Any]


async def context_tokens(
    client: AsyncClient, model: trainer_pb2.Model, texts: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Tokens of each group's documents."""
    pieces = {group: split_text(of_group) for group, of_group in texts.items()}
    counts = iter(await count_tokens(client, model.name, [piece for p in pieces.values() for piece in p]))
    return {group: sum(next(counts) for _ in p) for group, p in pieces.items()}


def context_texts(rows: Sequence[Row], group_key: str, distinct_key: str) -> dict[str, list[str]]:
    """Each group's documents in order; of those that share `distinct_key`'s value the first."""
    texts: dict[str, list[str]] = {}
    seen = set()
    for row, group in zip(rows, groups(rows, group_key), strict=True):
        metadata = row.get("metadata") or {}
        if distinct_key and distinct_key in metadata:
            identity = (group, str(metadata[distinct_key]))
            if identity in seen:
                continue
            seen.add(identity)
        texts.setdefault(group, []).append(row["text"])
    return texts


def split_text(texts: Sequence[str]) -> list[str]:
    """The documents joined as in a context, in pieces that fit into a call."""
    pieces: list[list[str]] = [[]]
    size = 0
    for text in texts:
        if size > _TEXT_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(text)
        size += len(text.encode()) + 1
    return ["\n".join(piece) for piece in pieces]


async def count_tokens(client: AsyncClient, model: str, texts: Sequence[str]) -> list[int]:
    """In calls that stay under the message limit."""
    counts: list[int] = []
    batch: list[str] = []
    size = 0
    for text in [*texts, None]:
        full = text is None or size + len(text.encode()) > _CALL_BYTES or len(batch) == _CALL_TEXTS
        if batch and full:
            request = inference_pb2.CountTokensRequest(parent=client.parent, model=model, texts=batch)
            counts.extend((await client.stubs.inference.CountTokens(request)).token_counts)
            batch, size = [], 0
        if text is not None:
            batch.append(text)
            size += len(text.encode())
    return counts


def longest_reading(probe: Row) -> str:
    """The most that is read after the context for this probe."""
    if "choices" not in probe:
        return f"Question: {probe['question']}\nAnswer: {', '.join(map(str, probe['answers']))}"
    return f"{probe['prompt']} {max(map(str, probe['choices']), key=len)}"
