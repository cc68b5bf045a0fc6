"""Files as inspection needs them, without the weights: of safetensors only the header, in a sparse file of the whole's size."""

import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from services.trainer.inspection import HEADER_LIMIT_BYTES


class Sketch:
    """Written from a file's chunks in their order; afterwards `inspect_folder` finds at `path` what it would find in the whole file."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._weights = path.suffix == ".safetensors"
        self._begin = b""
        self._written = 0
        self._wanted = 8 if self._weights else size_bytes

    @property
    def complete(self) -> bool:
        """Whether further chunks would say nothing new."""
        return self._written >= min(self._wanted, self.size_bytes)

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._weights:
            self._file.truncate(self.size_bytes)
        self._file.close()

    def add(self, chunk: bytes) -> None:
        if self._weights and len(self._begin) < 8:
            self._begin += chunk[: 8 - len(self._begin)]
            if len(self._begin) == 8:
                # A length beyond all bounds is refused by inspection, which sees these eight bytes.
                (length,) = struct.unpack("<Q", self._begin)
                # And at least as much as tells a pickle by its first bytes.
                self._wanted = max(4096, 8 + min(length, HEADER_LIMIT_BYTES))
        if not self.complete:
            self._file.write(chunk)
            self._written += len(chunk)
