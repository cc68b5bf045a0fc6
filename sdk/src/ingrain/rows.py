"""Rows from what a user has: dicts, a DataFrame, files, a folder.

A `.jsonl` file gives a row per line, a `.txt` or `.md` file one document; other files are left to the platform. Everything
is written to one spooled file first, because the upload's header carries the digest of what follows.
"""

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ingrain.errors import FieldViolation, Invalid
from ingrain.packing import FILE_SUFFIXES, ROW_SUFFIXES, TEXT_SUFFIXES, files_of, for_platform, packed

CHUNK_BYTES = 1 << 20
_IN_MEMORY_BYTES = 8 << 20


class Spool(NamedTuple):
    """Bytes ready to send: JSONL, or a file by the name that says how the platform is to read it; `row_count` is 0 then."""

    file: IO[bytes]
    sha256: str
    row_count: int
    file_name: str = ""

    def chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The bytes from the start; lines may cross chunks."""
        self.file.seek(0)
        while chunk := self.file.read(chunk_bytes):
            yield chunk


def spool(source: Any) -> Spool:
    """Writes the source's rows as JSONL, or what the platform is to read. Raises Invalid naming file and line, or row,
    that is wrong."""
    if isinstance(source, Spool):
        return source
    if isinstance(source, (str, Path)) and for_platform(path := Path(source).expanduser()):
        sent, sha256, file_name = packed(path)
        return Spool(sent, sha256, 0, file_name)
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - handed on, closed by the caller
    digest, count = hashlib.sha256(), 0
    for line in _lines(source):
        file.write(line)
        digest.update(line)
        count += 1
    if not count:
        raise Invalid(f"there are no rows in {_describe(source)}", reason="DATASET_EMPTY")
    return Spool(file, digest.hexdigest(), count)


def read_rows(source: Any, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """The same rows in memory; of a folder without the files of these names."""
    rows = [json.loads(line) for line in _lines(source, without)]
    if not rows:
        raise Invalid(f"there are no rows in {_describe(source)}", reason="DATASET_EMPTY")
    return rows


def _lines(source: Any, without: Collection[str] = ()) -> Iterator[bytes]:
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.is_dir():
            yield from _folder_lines(path, without)
        elif path.is_file():
            yield from _file_lines(path, path.name)
        else:
            raise Invalid(f"{path} is neither a file nor a folder", reason="SOURCE_NOT_FOUND")
    elif hasattr(source, "to_json") and hasattr(source, "columns"):
        # pandas writes its own types (dates, missing values) better than we could without importing it.
        text = source.to_json(orient="records", lines=True, force_ascii=False, date_format="iso")
        rows = (json.loads(line) for line in text.split("\n") if line)
        yield from _dict_lines(
            {key: value for key, value in row.items() if value is not None} for row in rows
        )
    elif isinstance(source, Iterable):
        yield from _dict_lines(source)
    else:
        raise Invalid(
            f"cannot read rows from a {type(source).__name__}; give a path, a list of dicts or a DataFrame"
        )


def _dict_lines(rows: Iterable[Any]) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise _invalid_row(f"rows[{number}]", f"is a {type(row).__name__}; a row is a dict")
        try:
            yield json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise _invalid_row(f"rows[{number}]", f"cannot be written as JSON: {error}") from None


def _folder_lines(folder: Path, without: Collection[str]) -> Iterator[bytes]:
    known = (*TEXT_SUFFIXES, *ROW_SUFFIXES)
    readable = [p for p in files_of(folder) if p.suffix.lower() in known and p.name not in without]
    if not readable:
        raise Invalid(f"{folder} holds no {', '.join(known)} file", reason="DATASET_EMPTY")
    for path in readable:
        yield from _file_lines(path, path.relative_to(folder).as_posix())


def _file_lines(path: Path, shown: str) -> Iterator[bytes]:
    suffix = path.suffix.lower()
    if suffix in ROW_SUFFIXES:
        yield from _jsonl_lines(path, shown)
    elif suffix in TEXT_SUFFIXES:
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise _invalid_row(shown, f"is not UTF-8 (byte {error.start})") from None
        if text:
            yield from _dict_lines([{"id": shown, "text": text, "metadata": {"path": shown}}])
    else:
        raise Invalid(
            f"{path} is none of {', '.join((*TEXT_SUFFIXES, *ROW_SUFFIXES))}"
            + (
                f"; upload it and read its rows: `ingrain dataset upload {path}`"
                if suffix in FILE_SUFFIXES
                else ""
            ),
            reason="FORMAT_UNKNOWN",
        )


def _jsonl_lines(path: Path, shown: str) -> Iterator[bytes]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not line:
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise _invalid_row(f"{shown}:{number}", f"is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise _invalid_row(f"{shown}:{number}", "is not a JSON object")
            yield line + b"\n"


def _invalid_row(field: str, description: str) -> Invalid:
    violation = FieldViolation(field, description)
    return Invalid(f"{field} {description}", reason="ROW_INVALID", field_violations=[violation])


def _describe(source: Any) -> str:
    return str(source) if isinstance(source, (str, Path)) else f"this {type(source).__name__}"
