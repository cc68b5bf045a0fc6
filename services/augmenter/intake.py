"""Bytes or rows -> checked, canonical JSONL in object storage, with bounded memory."""

import json
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from ingrain.v1.datasets_pb2 import Dataset
from servicekit.errors import Exhausted, Invalid
from servicekit.storage import Storage
from services.augmenter.rows import GREATEST_LINE_BYTES, Row, RowChecker


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
    storage: Storage, prefix: str, rows: AsyncIterator[Row | bytes], kind: int, most_rows: int
) -> Taken:
    """Checks every row and stores `rows.jsonl` and `manifest.json` under `prefix`; Invalid leaves nothing behind."""
    checker = RowChecker(kind)
    with tempfile.NamedTemporaryFile("wb", prefix="ingrain-rows-", suffix=".jsonl") as spool:
        async for item in rows:
            row = checker.check_line(item) if isinstance(item, bytes) else checker.check(item)
            if row is None:
                continue
            if checker.count > most_rows:
                raise Exhausted(
                    "TOO_MANY_ROWS", f"more than {most_rows} rows; split the data set", limit=most_rows
                )
            spool.write(checker.encoded(row) + b"\n")
        if checker.count == 0:
            raise Invalid("EMPTY_DATASET", "the data set has no rows", field="rows")
        spool.flush()
        stored = await storage.put_file(f"{prefix}/rows.jsonl", Path(spool.name))
    taken = Taken(checker.kind, checker.count, stored.size_bytes, stored.sha256, stored.uri)
    manifest = {
        "files": [{"name": "rows.jsonl", "size_bytes": taken.size_bytes, "sha256": taken.sha256}],
        "kind": Dataset.Kind.Name(taken.kind),
        "row_count": taken.row_count,
    }
    await storage.put(f"{prefix}/manifest.json", json.dumps(manifest, indent=1).encode())
    return taken


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
