"""Rows of a dataset from object storage: in shards, beginning anywhere, with a few of them in memory.

A block is read at a time, so that no connection is held while rows are answered.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from servicekit.storage import Storage

BLOCK_BYTES = 2 << 20
SHARD_ROWS = 256
SHARD_BYTES = 8 << 20  # of rows and the longest answers to them


class Span(NamedTuple):
    """Rows and bytes of a shard, from the first to the one behind the last."""

    start_row: int
    row_count: int
    begin_byte: int
    end_byte: int


T = TypeVar("T")


@dataclass(frozen=True)
class Shard(Generic[T]):
    span: Span
    rows: list[T]


class Lines:
    """JSONL under `key`, line by line from any byte on."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage = storage
        self._key = key
        self._block, self._at = b"", 0  # what was read, and how much of it was given out
        self._ended = False
        self.position = 0  # of the next line

    def seek(self, position: int) -> None:
        """To the first byte of a line."""
        if position != self.position:
            self._block, self._at, self._ended, self.position = b"", 0, False, position

    async def next(self) -> bytes | None:
        """The next line without its newline, None at the end. Those of a dataset are never blank."""
        searched = self._at
        while (end := self._block.find(b"\n", searched)) < 0 and not self._ended:
            rest = self._block[self._at :]
            searched = len(rest)
            self._block, self._at = rest + await self._more(self.position + len(rest)), 0
        if end < 0:
            end = len(self._block)
            if end == self._at:
                return None
        line = self._block[self._at : end]
        self._at = end + 1
        self.position += len(line) + 1
        return line

    async def _more(self, start: int) -> bytes:
        async with aclosing(self._storage.stream(self._key, start, BLOCK_BYTES)) as blocks:  # type: ignore[type-var]
            async for block in blocks:
                return block
        self._ended = True
        return b""


async def shards(
    lines: Lines, done: Mapping[int, Span], read: Callable[[int, bytes], tuple[T, int]]
) -> AsyncIterator[Shard[T]]:
    """Of the rows that are in none of the spans in `done`, which are found by their first row. `read`: number and line
    -> the row, and the bytes that it takes in memory with its answer."""
    row = 0
    while True:
        while row in done:
            lines.seek(done[row].end_byte)
            row += done[row].row_count
        begin_byte, size = lines.position, 0
        held: list[T] = []
        while len(held) < SHARD_ROWS and size < SHARD_BYTES and row + len(held) not in done:
            line = await lines.next()
            if line is None:
                break
            item, item_bytes = read(row + len(held), line)
            held.append(item)
            size += item_bytes
        if not held:
            return
        yield Shard(Span(row, len(held), begin_byte, lines.position), held)
        row += len(held)
