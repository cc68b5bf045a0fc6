"""Files that cannot be read: named with their reason, and nothing else suffers."""

import asyncio
import gzip
import os
import time
from pathlib import Path

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2
from services.augmenter.settings import AugmenterSettings
from tests.integration.augmenter.files import LONG, imported, rows_of, sent, write
from tests.unit.augmenter import samples


@pytest.fixture
def settings(settings: AugmenterSettings) -> AugmenterSettings:
    """Bounds that tests can reach."""
    bounds = {"import_file_s": 2.0, "import_memory_bytes": 600 << 20, "upload_bytes": 8 << 20}
    return settings.model_copy(update={**bounds, "import_file_bytes": 4 << 20})


@pytest.fixture
def root(settings: AugmenterSettings) -> Path:
    assert settings.import_root is not None
    return settings.import_root


async def test_splitting_that_cannot_be_is_refused_at_once(client: AsyncClient, root: Path) -> None:
    folder = write(root / "long", {"moss.md": LONG})
    wrong = {"max_characters": 100, "overlap_characters": 50}
    for call, field in (
        (client.datasets.upload([{"text": "x"}], splitting=wrong), "header.splitting.overlap_characters"),
        (client.datasets.import_(f"file://{folder}", splitting=wrong), "splitting.overlap_characters"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            await call
        assert [v.field for v in caught.value.field_violations] == [field]


async def test_files_that_break_their_parser_cost_themselves_only(client: AsyncClient, root: Path) -> None:
    folder = write(
        root / "mixed",
        {
            "a.md": "First.",
            "deep.html": samples.deep_page(300_000),
            "latin.txt": b"\xe9t\xe9",
            "liar.pdf": "<html>",
            "large.txt": "x" * (5 << 20),
            "nested.zip": samples.zipped({"in.zip": samples.zipped({"x.md": b"x"}), "ok.md": b"Inside."}),
            "bomb.txt.gz": gzip.compress(b"\0" * (60 << 20)),
            "z.md": "Last.",
        },
    )
    samples.parquet_bomb(folder / "eats.parquet")
    samples.scan(folder / "scan.pdf")
    samples.pdf(folder / "locked.pdf", "secret")
    operation = await client.datasets.import_(f"file://{folder}", id="mixed")
    slowest = 0.0
    while not (await client.operations.get(operation.name)).done:
        asked = time.monotonic()
        assert [dataset async for dataset in client.datasets.list()]
        slowest = max(slowest, time.monotonic() - asked)
        await asyncio.sleep(0.05)
    assert slowest < 5.0  # it serves; the page alone would keep it for minutes
    made = await operation.result(timeout_s=60)
    assert [row["text"] for row in await rows_of(client, "mixed")] == ["First.", "Inside.", "Last."]
    counts = dict(made.counts)
    eaten = [what for what in counts if what.endswith("eats.parquet")]
    assert eaten in (
        ["skipped too much memory: eats.parquet"],
        ["skipped parser died: eats.parquet"],
    )
    del counts[eaten[0]]
    assert counts == {
        "documents from .md": 3,
        "archives .zip": 1,
        "skipped too slow: deep.html": 1,
        "skipped not utf8: latin.txt": 1,
        "skipped not its ending: liar.pdf": 1,
        "skipped too large: large.txt": 1,
        "skipped nested archive: nested.zip/in.zip": 1,
        "skipped archive bomb: bomb.txt.gz": 1,
        "skipped no text: scan.pdf": 1,
        "skipped encrypted: locked.pdf": 1,
    }


async def test_a_file_that_is_all_there_is_is_refused_by_name(
    client: AsyncClient, root: Path, tmp_path: Path
) -> None:
    write(root, {"broken.docx": samples.zipped({"[Content_Types].xml": b"<"}), "old.docx": "no zip"})
    samples.scan(root / "scan.pdf")
    write(root, {"bomb.zip": samples.zipped({"a.txt": b"\0" * (60 << 20)})})
    write(root, {"all.zip": samples.zipped({"a.pdf": b"no", "../b.md": b"x", "c.png": b""})})
    for name, reason, told in (
        ("broken.docx", "BROKEN_FILE", "broken.docx cannot be read"),
        ("old.docx", "NOT_ITS_ENDING", "old.docx is no Word file"),
        ("scan.pdf", "NO_TEXT", "scan.pdf has no text in it"),
        ("bomb.zip", "ARCHIVE_BOMB", "bomb.zip unpacks to more than"),
    ):
        with pytest.raises(errors.Invalid) as sent:
            await client.datasets.upload(root / name, id="refused")
        operation = await client.datasets.import_(f"file://{root}/{name}")
        with pytest.raises(errors.OperationFailed) as failed:
            await operation.result(timeout_s=30)
        for caught, field in ((sent, "header.file_name"), (failed, "source_uri")):
            assert caught.value.reason == reason
            assert [v.field for v in caught.value.field_violations] == [field]
            assert told in caught.value.message
    with pytest.raises(errors.Invalid, match=r"a\.pdf") as caught:
        await client.datasets.upload(root / "all.zip", id="refused")
    assert [dataset async for dataset in client.datasets.list() if dataset.state == common_pb2.ACTIVE] == []
    write(tmp_path, {"large.pdf": os.urandom(9 << 20)})
    with pytest.raises(errors.Exhausted) as large:
        await client.datasets.upload(tmp_path / "large.pdf", id="refused")
    assert large.value.reason == "UPLOAD_TOO_LARGE"
    await client.datasets.upload([{"text": "x"}], id="refused")  # the id is still free


async def test_wrong_rows_of_a_table_are_named_and_take_no_parsers_room(
    client: AsyncClient, root: Path
) -> None:
    write(root, {"twice.csv": "id,text\n1,x\n1,y\n", "good.csv": "id,text\n1,x\n"})
    for _ in range(3):  # more than parsers at once
        with pytest.raises(errors.Invalid) as caught:
            await client.datasets.upload(root / "twice.csv")
        assert (caught.value.reason, caught.value.field_violations[0].field) == ("DUPLICATE_ID", "rows[1].id")
    async with asyncio.timeout(60):
        assert (await client.datasets.upload(root / "good.csv")).row_count == 1


async def test_a_name_that_nobody_reads_is_refused(client: AsyncClient) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await sent(client, b"x", file_name="notes.xyz")
    assert (caught.value.reason, caught.value.field_violations[0].field) == (
        "UNKNOWN_FORMAT",
        "header.file_name",
    )
    # A name with folders in it is a name all the same; JSONL by its ending is JSONL.
    assert (await sent(client, b'{"text": "x"}', file_name="C:\\x\\rows.jsonl")).row_count == 1


async def test_a_file_that_arrives_otherwise_than_sent_is_refused(client: AsyncClient) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await sent(client, b"# A", file_name="a.md", sha256="0" * 64)
    assert caught.value.reason == "SHA256_MISMATCH"


async def test_a_document_too_long_for_a_row_asks_to_be_split(client: AsyncClient, root: Path) -> None:
    folder = write(root / "one", {"war.txt": "It was a dark night. " * 170_000})
    with pytest.raises(errors.OperationFailed, match=r"split 'war\.txt'") as caught:
        await imported(client, f"file://{folder}")
    assert caught.value.reason == "DOCUMENT_TOO_LONG"
    made = await imported(client, f"file://{folder}", splitting={"max_characters": 100_000})
    assert made.row_count == 36
