"""Tables -> rows. Columns are known by name: `text` makes documents, `prompt` and `completion` pairs, `question` and
`answers` (or `prompt`, `choices`, `answer`) probes, `messages` conversations; without any of these a row of the table is
a document with a line for each column. What is not named goes into `metadata`."""

import base64
import csv
import datetime
import decimal
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.formats.text import decoded

Row = dict[str, Any]
_DELIMITERS = ",;\t|"
_SHAPES = (
    ("text",),
    ("messages",),
    ("prompt", "completion"),
    ("question", "answers"),
    ("question", "answer"),
    ("prompt", "choices", "answer"),
)
_LISTS = {"answers", "choices", "messages"}
_BATCH_ROWS = 1000


def csv_rows(file: Path, path: str, bounds: Bounds) -> Iterator[Row | None]:
    """The first line names the columns. None for a row without values. Refused: NOT_TEXT, NOT_UTF8, BROKEN_FILE."""
    if file.stat().st_size > bounds.most_file_bytes:
        raise Refused(
            "TOO_LARGE", f"is larger than {bounds.most_file_bytes} bytes; bring it as parquet or JSONL"
        )
    text, _ = decoded(file.read_bytes())
    csv.field_size_limit(bounds.most_characters)
    try:
        # Told from the header alone: commas in texts would outvote it.
        dialect: Any = csv.Sniffer().sniff(text.partition("\n")[0], _DELIMITERS)
        delimiter = dialect.delimiter
    except csv.Error:
        delimiter = "\t" if path.lower().endswith(".tsv") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = next(reader, [])
        yield from rows_of(columns, (dict(zip(columns, cells, strict=False)) for cells in reader), path)
    except csv.Error as error:
        raise Refused("BROKEN_FILE", f"is broken in line {reader.line_num}: {error}") from None


def parquet_rows(file: Path, path: str, bounds: Bounds) -> Iterator[Row | None]:
    """Read batch by batch, however long the table is. Refused: NOT_ITS_ENDING, BROKEN_FILE."""
    import pyarrow.parquet  # as large as all else that reads files; few need it

    with file.open("rb") as opened:
        if opened.read(4) != b"PAR1":
            raise Refused("NOT_ITS_ENDING", "is no parquet file by its content")
    with pyarrow.parquet.ParquetFile(file) as table:
        columns = table.schema_arrow.names
        batches = table.iter_batches(batch_size=_BATCH_ROWS)
        yield from rows_of(columns, (row for batch in batches for row in batch.to_pylist()), path)


def rows_of(columns: list[str], cells: Iterable[Row], path: str) -> Iterator[Row | None]:
    named = [name.strip().lower() for name in columns]
    shape = next((shape for shape in _SHAPES if set(shape) <= set(named)), ())
    for number, cell in enumerate(cells, start=1):
        values = {
            name: value
            for name, given in zip(named, columns, strict=True)
            if (value := plain(cell.get(given))) not in (None, "", [], {})
        }
        if not values:
            yield None
            continue
        identity = values.pop("id", None)
        row: Row = {"id": str(identity) if identity is not None else f"{path}:{number}"}
        if not shape:
            given_names = dict(zip(named, columns, strict=True))
            yield row | {
                "text": "\n".join(f"{given_names[n].strip()}: {shown(v)}" for n, v in values.items()),
                "metadata": {"path": path},
            }
            continue
        yield row | _shaped(shape, values, path)


def _shaped(shape: tuple[str, ...], values: Row, path: str) -> Row:
    row = {name: as_list(values.pop(name, [])) if name in _LISTS else values.pop(name, "") for name in shape}
    row = {name: value if isinstance(value, (str, list)) else shown(value) for name, value in row.items()}
    if shape == ("question", "answer"):
        row = {"question": row["question"], "answers": as_list(row["answer"])}
    if "question" in row or "choices" in row:
        row["kind"] = str(values.pop("kind", "question"))
    metadata = values.pop("metadata", {})
    if isinstance(metadata, str):
        metadata = _json(metadata, {"metadata": metadata})
    if not isinstance(metadata, dict):
        metadata = {"metadata": metadata}
    found = {**({"path": path} if shape == ("text",) else {}), **values, **metadata}
    return row | ({"metadata": found} if found else {})


def as_list(value: Any) -> list[Any]:
    """A list as it is, one written as JSON, or one of a single value."""
    if isinstance(value, str):
        value = _json(value, [value])
    return value if isinstance(value, list) else [value]


def _json(text: str, otherwise: Any) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
    return value if isinstance(value, type(otherwise)) else otherwise


def plain(value: Any) -> Any:
    """As JSON can hold it; None for what is missing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value.strip() if isinstance(value, str) else value
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return str(value)


def shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
