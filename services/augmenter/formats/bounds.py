"""What a file from outside may take, and why one is refused."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """`most_s` is the parser's time on a processor for one document, one batch of a table's rows or one member of an
    archive; by the clock it may be four times as long."""

    most_files: int  # in an archive
    most_bytes: int  # unpacked, of an archive or a table
    most_file_bytes: int  # of a file that becomes one document
    most_characters: int  # of a document's text
    most_ratio: int  # unpacked bytes for each packed one, once over FREE_BYTES
    most_depth: int  # archives in archives; 1 leaves what is inside of the first
    most_pages: int
    most_s: float
    most_memory_bytes: int  # address space of the parser


FREE_BYTES = 16 << 20  # small files compress well; what unpacks to less than this is no bomb


class Refused(Exception):
    """A file that is not read. `reason` is UPPER_SNAKE; `why` goes on after the file's path: "is encrypted"."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why
