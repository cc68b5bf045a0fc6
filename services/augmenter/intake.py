"""Bytes or rows -> checked, canonical JSONL in object storage, with bounded memory."""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain.v1.datasets_pb2 import Dataset
from servicekit.errors import Exhausted, Invalid
from servicekit.storage import Storage, Stored
from services.augmenter.rows import GREATEST_LINE_BYTES, Row, RowChecker
from services.augmenter.splitting import Splitting
from services.augmenter.splitting import rows_of as split_row

ORIGINALS = "originals.jsonl"


@dataclass(frozen=True)
class Taken:
    kind: int
    row_count: int
    size_bytes: int
    sha256: str
    uri: str


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines across chunks; an unfinished line longer than allowed is given up as it stands, and then refused."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > GREATEST_LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


async def take_in(
    storage: Storage,
    prefix: str,
    rows: AsyncIterator[Row | bytes],
    kind: int,
    most_rows: int,
    splitting: Splitting | None = None,
    originals: AsyncIterator[bytes] | None = None,
    counts: Counter[str] | None = None,
) -> Taken:
    """Checks every row and stores `rows.jsonl` and `manifest.json` under `prefix`; Invalid leaves nothing behind.

    Documents that `splitting` splits are kept whole in `originals.jsonl` beside the rows, and so are the lines of
    `originals`, which other rows are parts of.
    """
    checker, written = RowChecker(kind), 0
    with ExitStack() as stack:
        spool, kept = (
            stack.enter_context(tempfile.NamedTemporaryFile("wb", prefix=f"ingrain-{name}-", suffix=".jsonl"))
            for name in ("rows", "originals")
        )
        async for item in rows:
            row = checker.check_line(item) if isinstance(item, bytes) else checker.check(item)
            if row is None:
                continue
            parts = await _parts(checker, row, splitting)
            written += len(parts)
            if written > most_rows:
                raise Exhausted(
                    "TOO_MANY_ROWS", f"more than {most_rows} rows; split the data set", limit=most_rows
                )
            if len(parts) > 1:
                kept.write(checker.encoded(row) + b"\n")
                _count_split(counts, len(parts))
            for part in parts:
                spool.write(checker.fitting(part) + b"\n")
        if not written:
            raise Invalid("EMPTY_DATASET", "the data set has no rows", field="rows")
        async for line in originals or aiter_of(()):
            kept.write(line + b"\n")
        files = [("rows.jsonl", await _put(storage, prefix, "rows.jsonl", spool))]
        if kept.tell():
            files.append((ORIGINALS, await _put(storage, prefix, ORIGINALS, kept)))
    stored = files[0][1]
    taken = Taken(checker.kind, written, stored.size_bytes, stored.sha256, stored.uri)
    manifest: dict[str, Any] = {
        "files": [{"name": name, "size_bytes": s.size_bytes, "sha256": s.sha256} for name, s in files],
        "kind": Dataset.Kind.Name(taken.kind),
        "row_count": taken.row_count,
    }
    if len(files) > 1:
        manifest["originals"] = {
            "file": ORIGINALS,
            "spans": "metadata.source, metadata.start and metadata.end of a row: the original's id, and characters of its text",
        }
    await storage.put(f"{prefix}/manifest.json", json.dumps(manifest, indent=1).encode())
    return taken


async def _parts(checker: RowChecker, row: Row, splitting: Splitting | None) -> list[Row]:
    """The row, or what it is split into; only documents are."""
    if splitting is None or checker.kind != Dataset.DOCUMENTS or len(row["text"]) <= splitting.max_characters:
        return [row]
    parts = await asyncio.to_thread(split_row, row, splitting)
    for part in parts:
        if part is not row:
            checker.claim(part["id"])
    return parts


def _count_split(counts: Counter[str] | None, parts: int) -> None:
    if counts is not None:
        counts["documents split"] += 1
        counts["rows of split documents"] += parts


async def _put(storage: Storage, prefix: str, name: str, spool: Any) -> Stored:
    spool.flush()
    return await storage.put_file(f"{prefix}/{name}", Path(spool.name))


async def kept_originals(storage: Storage, rows_uri: str) -> AsyncIterator[bytes]:
    """Documents that were split, whole, of the dataset whose rows lie at `rows_uri`; none where none were."""
    key = f"{storage.key(rows_uri).rpartition('/')[0]}/{ORIGINALS}"
    if await storage.stat(key) is None:
        return
    rest = b""
    async for chunk in storage.stream(key):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def fill(dataset: Dataset, taken: Taken) -> Dataset:
    dataset.kind = taken.kind
    dataset.row_count = taken.row_count
    dataset.size_bytes = taken.size_bytes
    dataset.sha256 = taken.sha256
    dataset.uri = taken.uri
    return dataset


async def aiter_of(rows: Iterable[Row]) -> AsyncIterator[Row]:
    """Rows that are there already, for whoever reads them as they come."""
    for row in rows:
        yield row
