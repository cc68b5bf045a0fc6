"""Files as people have them, over the wire: read, split, skipped by name, and refused where they are all there is."""

import asyncio
import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, Client
from ingrain.cli.folder_documents import documents_of
from ingrain.v1 import common_pb2
from servicekit import identity
from servicekit.storage import open_root
from services.augmenter.settings import AugmenterSettings
from tests.integration.augmenter.files import IDS, LONG, READ, handbook, imported, rows_of, write
from tests.unit.augmenter import samples
from tools.platform import free_port as port_of
from tools.platform import stop, wait_for_port


@pytest.fixture
def settings(settings: AugmenterSettings) -> AugmenterSettings:
    """Bounds that tests can reach."""
    bounds = {"import_file_s": 2.0, "import_memory_bytes": 600 << 20, "upload_bytes": 8 << 20}
    return settings.model_copy(update={**bounds, "import_file_bytes": 4 << 20})


@pytest.fixture
def root(settings: AugmenterSettings) -> Path:
    assert settings.import_root is not None
    return settings.import_root


async def test_a_folder_is_the_same_documents_imported_uploaded_or_archived(
    client: AsyncClient, root: Path, tmp_path: Path
) -> None:
    folder = handbook(root / "book")
    made = await imported(client, f"file://{folder}", id="imported")
    assert (made.state, dict(made.counts)) == (common_pb2.ACTIVE, READ)
    rows = await rows_of(client, "imported")
    assert [row["id"] for row in rows] == IDS
    by_id = {row["id"]: row for row in rows}
    assert by_id["book.pdf"]["text"].startswith("# Gribbles of the North\n\nThe gribble lives near the river")
    assert by_id["book.pdf"]["metadata"] == {"path": "book.pdf", "pages": 3}
    assert by_id["c1"] == {"id": "c1", "text": "from csv", "metadata": {"path": "table.csv", "page": "4"}}
    uploaded = await client.datasets.upload(folder, id="uploaded")
    sent = {what: n for what, n in READ.items() if what != "skipped hidden files"}  # the SDK sends none
    assert dict(uploaded.counts) == {**sent, "archives .zip": 1}
    assert await rows_of(client, "uploaded") == rows
    assert uploaded.sha256 == made.sha256
    packed = tmp_path / "book.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(folder, arcname=".")
    await client.datasets.upload(packed, id="packed")
    assert await rows_of(client, "packed") == rows
    single = await client.datasets.upload(folder / "book.pdf", id="single")
    assert (single.row_count, dict(single.counts)) == (1, {"documents from .pdf": 1})
    assert await rows_of(client, "single") == [by_id["book.pdf"]]


async def test_plain_files_are_uploaded_as_ever(client: AsyncClient, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "plain", {"a.md": "\ufeff# A\r\n\r\nText. ", "b.jsonl": '{"id":"b","text":"B"}\n'}
    )
    made = await client.datasets.upload(folder, id="plain")
    assert dict(made.counts) == {}
    assert await rows_of(client, "plain") == [
        {"id": "a.md", "text": "# A\n\nText.", "metadata": {"path": "a.md"}},
        {"id": "b", "text": "B"},
    ]


async def test_long_documents_are_split_and_kept_whole_beside_their_rows(
    client: AsyncClient, settings: AugmenterSettings, root: Path
) -> None:
    folder = write(root / "long", {"moss.md": LONG, "short.md": "Short."})
    splitting = {"max_characters": 400, "overlap_characters": 60}
    made = await imported(client, f"file://{folder}", id="parts", splitting=splitting)
    rows = await rows_of(client, "parts")
    parts = [row for row in rows if row["id"] != "short.md"]
    assert made.row_count == len(rows)
    assert made.counts["documents split"] == 1
    assert made.counts["rows of split documents"] == len(parts) > 3
    assert [row["id"] for row in parts] == [f"moss.md#{n}" for n in range(1, len(parts) + 1)]
    assert rows[-1] == {"id": "short.md", "text": "Short.", "metadata": {"path": "short.md"}}
    stored = next(Path(settings.storage.removeprefix("file://")).rglob("originals.jsonl"))
    (original,) = map(json.loads, stored.read_text().splitlines())
    assert original == {"id": "moss.md", "text": LONG.strip(), "metadata": {"path": "moss.md"}}
    for row in parts:
        told = row["metadata"]
        assert original["text"][told["start"] : told["end"]] == row["text"]
        assert (told["source"], told["path"], len(row["text"]) <= 400) == ("moss.md", "moss.md", True)
    assert {row["metadata"]["heading"] for row in parts} == {"Moss", "Moss > Red moss"}
    manifest = json.loads(stored.with_name("manifest.json").read_text())
    assert [file["name"] for file in manifest["files"]] == ["rows.jsonl", "originals.jsonl"]
    assert manifest["originals"]["file"] == "originals.jsonl"
    # Rows of JSONL are split by the same rule; what is no document stays.
    again = await client.datasets.upload([original], id="again", splitting=splitting)
    assert [row["text"] for row in await rows_of(client, again.name)] == [row["text"] for row in parts]
    pair = {"prompt": "x" * 900, "completion": "y"}
    assert (await client.datasets.upload([pair], splitting=splitting)).row_count == 1


async def test_an_estimate_says_what_would_be_read(client: AsyncClient, root: Path) -> None:
    folder = handbook(root / "book")
    write(folder, {"more.zip": samples.zipped({"x.md": b"Four", "y.bin": b"", "../z.md": b""})})
    estimated = await client.datasets.import_(f"file://{folder}", validate_only=True)
    notes = list(estimated.metadata.estimate.notes)
    assert notes[0].startswith("10 files with ")
    assert "2 .md: 14 bytes" in notes
    assert "1 skipped.mp4" in notes
    assert "1 skipped unsafe path: more.zip/../z.md" in notes
    assert [dataset async for dataset in client.datasets.list()] == []


async def test_a_study_of_a_folder_reads_what_the_platform_reads(
    client: AsyncClient, settings: AugmenterSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = handbook(tmp_path / "book")
    write(folder, {"probes.jsonl": '{"kind": "k", "question": "q", "answers": ["a"]}'})
    metadata = (
        (identity.GATEWAY_TOKEN, settings.gateway_token.get_secret_value()),
        (identity.CALLER_KIND, "user"),
        (identity.CALLER_ID, "test"),
        (identity.CALLER_PROJECT, client.parent),
    )

    def read() -> list[dict[str, Any]]:
        with Client(f"127.0.0.1:{settings.port}", project=client.parent, metadata=metadata) as plain:
            return documents_of(plain, folder)

    rows = await asyncio.to_thread(read)
    assert [row["id"] for row in rows] == IDS
    assert "mp4" in capfd.readouterr().err
    assert await asyncio.to_thread(read) == rows
    assert len([dataset async for dataset in client.datasets.list()]) == 1  # the same files are read once
    plain = write(tmp_path / "plain", {"a.md": "# A"})
    folder = plain
    assert [row["id"] for row in await asyncio.to_thread(read)] == ["a.md"]
    assert len([dataset async for dataset in client.datasets.list()]) == 1


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """rclone's S3 server over a folder of the test."""
    (tmp_path / "s3" / "their-bucket").mkdir(parents=True)
    port, secret = port_of(), secrets.token_hex(16)
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "rclone"),
            "serve",
            "s3",
            str(tmp_path / "s3"),
            "--addr",
            f"127.0.0.1:{port}",
        ],
        env=os.environ | {"RCLONE_AUTH_KEY": f'"key,{secret}"'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_port(port, 30)
    yield {
        "s3_endpoint": f"127.0.0.1:{port}",
        "s3_access_key": "key",
        "s3_secret_key": secret,
        "s3_secure": False,
    }
    stop(process, 10)


async def test_a_prefix_of_s3_is_read_like_a_folder(
    settings: AugmenterSettings,
    s3: dict[str, Any],
    tmp_path: Path,
    serve_parts: Any,
    speak: Callable[..., AsyncClient],
) -> None:
    from services.augmenter.__main__ import assemble

    known = AugmenterSettings(**{**settings.model_dump(), **s3})
    theirs, folder = open_root("s3://their-bucket", known), handbook(tmp_path / "book")
    for path in sorted(p for p in folder.rglob("*.*") if p.is_file() and ".git" not in p.parts):
        await theirs.put_file(f"docs/{path.relative_to(folder).as_posix()}", path)
    with io.BytesIO(samples.zipped({"x.md": b"Zipped."})) as packed:
        await theirs.put("docs/z.zip", packed.getvalue())
    async with serve_parts(known, await assemble(known)) as target, speak(target) as client:
        made = await imported(client, "s3://their-bucket/docs", id="theirs")
        assert [row["id"] for row in await rows_of(client, "theirs")] == [*IDS, "z.zip/x.md"]
        there = {what: n for what, n in READ.items() if what != "skipped hidden files"}
        assert dict(made.counts) == {**there, "archives .zip": 1, "documents from .md": 2}
        (row,) = await rows_of(client, (await imported(client, "s3://their-bucket/docs/book.pdf")).name)
        assert row["id"] == "book.pdf"
