"""What the augmenter needs beyond `ServiceSettings`."""

from pathlib import Path

from ingrain.v1 import trainer_pb2
from servicekit.settings import ServiceSettings


class AugmenterSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    most_rows: int = 10_000_000
    prompt_batch: int = 64  # prompts per call of Generate, and per object of outputs
    endpoint_prompt_batch: int = 16  # the same where another server answers: what a crash may pay for again
    prompt_calls: int = 4  # calls of Generate at once, for each derivation
    patience_s: float = 600.0  # how long inference may answer nothing before an attempt is given up
    erase_deleted_s: float = 3600.0  # how long the bytes of a deleted dataset stay for who is reading them
    prices: Path | None = (
        None  # the operator's price table, a PriceTable as JSON; money is shown only with one
    )
    # What files from outside may take; an import in which one takes more says so by the file's name.
    upload_bytes: int = 4 << 30  # of an uploaded file that is not JSONL
    import_files: int = 100_000  # in an archive
    import_bytes: int = 4 << 30  # unpacked, of an archive or a table
    import_file_bytes: int = 256 << 20  # of a file that becomes one document
    import_characters: int = 16 << 20  # of one document's text
    import_ratio: int = 200  # unpacked bytes for each packed one
    import_depth: int = 1  # archives in archives: 1 leaves what is inside of the first
    import_pages: int = 5_000
    import_file_s: float = (
        60.0  # of a processor, for a document, a thousand rows of a table or a member of an archive
    )
    import_parsers: int = 2  # at once in this process; other imports and uploads of files wait
    import_memory_bytes: int = 1 << 30  # address space of the parser

    def batch_of(self, model: trainer_pb2.Model) -> int:
        """Prompts per call to it."""
        return self.endpoint_prompt_batch if model.HasField("endpoint") else self.prompt_batch
