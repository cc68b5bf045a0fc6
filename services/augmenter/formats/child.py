"""`python -P -m services.augmenter.formats.child '{bounds}'`: parses what it is asked to, one file after another.

Requests are lines of JSON on stdin; answers are frames on stdout, each four bytes of length and JSON: what is found,
then `{"end": true}`, `{"refused": [reason, why]}`. It holds no credential, and its memory, its processor time for each
file and the size of what it writes are bounded by the kernel.
"""

import json
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.augmenter.formats.archives import Left, Member, unpacked
from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.formats.endings import ARCHIVES

LENGTH = struct.Struct(">I")
Send = Callable[[dict[str, Any]], None]


def main() -> None:
    bounds = Bounds(**json.loads(sys.argv[1]))
    # Libraries that print must not get into the frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    bound(bounds)

    def send(frame: dict[str, Any]) -> None:
        raw = json.dumps(frame).encode()
        answers.write(LENGTH.pack(len(raw)) + raw)
        answers.flush()

    for line in sys.stdin.buffer:
        allow_time(bounds)
        request = json.loads(line)
        try:
            answer(request, bounds, send)
        except MemoryError:
            # What is left of this process may not work; the next file gets another.
            send(
                {
                    "refused": [
                        "TOO_MUCH_MEMORY",
                        f"needs more than {bounds.most_memory_bytes} bytes to be read",
                    ]
                }
            )
            return
        except Refused as refused:
            send({"refused": [refused.reason, refused.why]})
        except RecursionError:
            send({"refused": ["BROKEN_FILE", "is nested too deeply"]})
        except Exception as error:
            told = " ".join(str(error).split())[:200]
            send({"refused": ["BROKEN_FILE", f"cannot be read: {type(error).__name__}: {told}"]})
        else:
            send({"end": True})


def bound(bounds: Bounds) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (bounds.most_memory_bytes, bounds.most_memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (bounds.most_bytes, bounds.most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def allow_time(bounds: Bounds) -> None:
    """Another share of the processor: for each request, and for archives and tables each time that something of theirs
    is finished. Whoever is over it is ended by the kernel, also when nobody is left to look."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + bounds.most_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def answer(request: dict[str, Any], bounds: Bounds, send: Send) -> None:
    file, path, family = Path(request["file"]), request["path"], request["family"]
    if family in ARCHIVES:
        into = Path(request["into"]) if request["into"] else None
        for found in unpacked(file, family, path, into, bounds):
            allow_time(bounds)
            send(as_frame(found))
    elif family in ("csv", "parquet"):
        for rows, empty in batches(table_rows(file, path, family, bounds)):
            allow_time(bounds)
            send({"rows": rows, "empty": empty})
    else:
        text, metadata = document(file, family, bounds)
        if len(text) > bounds.most_characters:
            raise Refused(
                "TOO_LARGE",
                f"has {len(text)} characters; at most {bounds.most_characters} are read of a document",
            )
        send({"rows": [{"id": path, "text": text, "metadata": {"path": path, **metadata}}] if text else []})


def as_frame(found: Member | Left) -> dict[str, Any]:
    # Names in archives are bytes of any kind.
    path = found.path.encode(errors="replace").decode()
    if isinstance(found, Left):
        return {"left": [path, found.reason]}
    return {"member": [path, found.file, found.size_bytes]}


def document(file: Path, family: str, bounds: Bounds) -> tuple[str, dict[str, Any]]:
    """The file's text and what its metadata should say; the readers are imported by who needs them."""
    size = file.stat().st_size
    if size > bounds.most_file_bytes:
        raise Refused("TOO_LARGE", f"has {size} bytes; at most {bounds.most_file_bytes} are read of a file")
    if family == "pdf":
        from services.augmenter.formats import pdf

        return pdf.text_of(file, bounds)
    if family == "docx":
        from services.augmenter.formats import docx

        return docx.text_of(file, bounds)
    if family == "html":
        from services.augmenter.formats import html

        return html.text_of(file.read_bytes())
    from services.augmenter.formats import text

    decoded, encoding = text.decoded(file.read_bytes())
    return decoded.strip(), text.guessed(encoding)


def table_rows(file: Path, path: str, family: str, bounds: Bounds) -> Iterator[dict[str, Any] | None]:
    from services.augmenter.formats import tables

    return (tables.csv_rows if family == "csv" else tables.parquet_rows)(file, path, bounds)


def batches(rows: Iterator[dict[str, Any] | None]) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Rows that make a frame of some megabytes at most, and how many between them were empty."""
    batch: list[dict[str, Any]] = []
    empty, characters = 0, 0
    for row in rows:
        if row is None:
            empty += 1
            continue
        batch.append(row)
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(batch) >= 1000 or characters > 1 << 20:
            yield batch, empty
            batch, empty, characters = [], 0, 0
    if batch or empty:
        yield batch, empty


def arguments(bounds: Bounds) -> list[str]:
    """Of Python, to start this."""
    return ["-P", "-m", "services.augmenter.formats.child", json.dumps(asdict(bounds))]


if __name__ == "__main__":
    main()
