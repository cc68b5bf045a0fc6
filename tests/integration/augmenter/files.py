"""A folder of files as people have them, and how tests bring it in."""

from pathlib import Path
from typing import Any

import pandas

from ingrain import AsyncClient
from ingrain.v1 import datasets_pb2
from tests.unit.augmenter import samples

PROJECT = "projects/demo"
LONG = "# Moss\n\n" + "Moss is green. It grows on stones. " * 30 + "\n\n## Red moss\n\n" + "It is rare. " * 40


async def rows_of(client: AsyncClient, dataset: str) -> list[dict[str, Any]]:
    return [row async for row in client.datasets.rows(dataset)]


async def imported(client: AsyncClient, uri: str, **more: Any) -> datasets_pb2.Dataset:
    return await (await client.datasets.import_(uri, **more)).result(timeout_s=60)


async def sent(client: AsyncClient, content: bytes, **header: Any) -> datasets_pb2.Dataset:
    """An upload as a client in another language may send it."""
    messages = [
        datasets_pb2.UploadDatasetRequest(header=datasets_pb2.UploadDatasetHeader(parent=PROJECT, **header)),
        datasets_pb2.UploadDatasetRequest(chunk=content),
    ]
    return await client.stubs.datasets.UploadDataset(iter(messages))


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def handbook(folder: Path) -> Path:
    """A folder with one file of each kind, and one that nobody reads."""
    write(
        folder,
        {
            "a.md": "# A\n\nText.",
            "page.html": samples.PAGE,
            "rows.jsonl": '{"id": "r1", "text": "from rows"}\n',
            "table.csv": "id,text,page\nc1,from csv,4\n",
            "empty.txt": " \n",
            ".git/config.md": "hidden",
            "clip.mp4": b"\0\0",
            "sub/notes.rst": "Notes\n=====\n\nText.",
        },
    )
    samples.pdf(folder / "book.pdf")
    samples.word(folder / "letter.docx")
    pandas.DataFrame({"text": ["from parquet"]}).to_parquet(folder / "table.parquet")
    return folder


IDS = ["a.md", "book.pdf", "letter.docx", "page.html", "r1", "sub/notes.rst", "c1", "table.parquet:1"]
READ = {
    "documents from .md": 1,
    "documents from .pdf": 1,
    "documents from .docx": 1,
    "documents from .html": 1,
    "documents from .rst": 1,
    "files .jsonl": 1,
    "files .csv": 1,
    "rows from .csv": 1,
    "files .parquet": 1,
    "rows from .parquet": 1,
    "skipped empty files": 1,
    "skipped.mp4": 1,
    "skipped hidden files": 1,
}
