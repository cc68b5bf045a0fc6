"""Files that the platform reads and we do not: sent as they are, a folder that holds some as one zip.

The zip of a folder is the same bytes each time, so that an upload that is sent again is the same upload. Of files that
nobody reads only the names go along: the dataset's counts then say what was left out.
"""

import hashlib
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from ingrain.errors import Invalid

TEXT_SUFFIXES = (".txt", ".md", ".markdown")
ROW_SUFFIXES = (".jsonl", ".ndjson")
FILE_SUFFIXES = (
    *(".html", ".htm", ".xhtml", ".pdf", ".docx", ".rst", ".csv", ".tsv", ".parquet"),
    *(".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz"),
)
_IN_MEMORY_BYTES = 8 << 20
_BLOCK_BYTES = 1 << 20


def for_platform(path: Path) -> bool:
    """Whether the platform has to read the file, or some file of the folder."""
    if path.is_dir():
        return any(file.suffix.lower() in FILE_SUFFIXES for file in files_of(path))
    return path.is_file() and path.suffix.lower() in FILE_SUFFIXES


def files_of(folder: Path) -> list[Path]:
    """Every file but hidden ones, in order."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and not _hidden(p.relative_to(folder)))


def packed(path: Path, without: Collection[str] = ()) -> tuple[IO[bytes], str, str]:
    """What is sent, its sha256, and under which name; of a folder without the files of these names. The caller closes it."""
    name = path.name
    if path.is_dir():
        file, name = _zipped(path, without), f"{path.resolve().name or 'files'}.zip"
    else:
        file = path.open("rb")
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return file, digest.hexdigest(), name


def _zipped(folder: Path, without: Collection[str]) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - handed on, closed by the caller
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files_of(folder):
            if path.name in without:
                continue
            # Of one date: the bytes are those of the files alone.
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            if path.suffix.lower() not in (*TEXT_SUFFIXES, *ROW_SUFFIXES, *FILE_SUFFIXES):
                archive.writestr(info, b"")
                continue
            info.file_size = path.stat().st_size  # tells the writer whether it needs 64 bits for sizes
            try:
                with path.open("rb") as source, archive.open(info, "w") as target:
                    while block := source.read(_BLOCK_BYTES):
                        target.write(block)
            except OSError as error:
                raise Invalid(f"{path} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from None
    return file  # type: ignore[return-value]


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
