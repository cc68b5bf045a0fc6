"""Rows from dicts, frames, files and folders; bytes in chunks give the same rows again."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingrain.errors import Invalid
from ingrain.rows import CHUNK_BYTES, read_rows, spool

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, chunk_bytes=st.integers(1, 64))
def test_chunks_of_any_size_carry_the_rows(rows, chunk_bytes) -> None:
    spooled = spool(rows)
    with spooled.file:
        chunks = list(spooled.chunks(chunk_bytes))
        again = list(spooled.chunks(chunk_bytes))
    content = b"".join(chunks)
    assert all(0 < len(chunk) <= chunk_bytes for chunk in chunks)
    assert chunks == again
    assert [json.loads(line) for line in content.decode().split("\n")[:-1]] == rows
    assert spooled.sha256 == hashlib.sha256(content).hexdigest()
    assert spooled.row_count == len(rows)


def test_default_chunks_fit_the_contract() -> None:
    spooled = spool([{"text": "ä" * 3 * CHUNK_BYTES}])
    with spooled.file:
        sizes = [len(chunk) for chunk in spooled.chunks()]
    assert max(sizes) == 1 << 20
    assert len(sizes) == 7


def test_folder_gives_documents_and_rows_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("hidden")
    (tmp_path / "b.jsonl").write_text('{"id": "1", "text": "one"}\n\n{"id": "2", "text": "two"}')
    (tmp_path / "a.md").write_text("\ufeff# Title\n\nBody.\n", encoding="utf-8")
    (tmp_path / "sub" / "c.txt").write_text("Deep.")
    (tmp_path / "empty.txt").write_text("  \n")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "probes.jsonl").write_text('{"kind": "x"}')
    rows = read_rows(tmp_path, without=["probes.jsonl"])
    assert rows == [
        {"id": "a.md", "text": "# Title\n\nBody.", "metadata": {"path": "a.md"}},
        {"id": "1", "text": "one"},
        {"id": "2", "text": "two"},
        {"id": "sub/c.txt", "text": "Deep.", "metadata": {"path": "sub/c.txt"}},
    ]
    assert read_rows(str(tmp_path / "b.jsonl"))[1]["text"] == "two"


def test_data_frame() -> None:
    frame = pandas.DataFrame({"id": ["a", "b"], "text": ["eins\nzwei", "drei ü"], "page": [1, None]})
    assert read_rows(frame) == [
        {"id": "a", "text": "eins\nzwei", "page": 1.0},
        {"id": "b", "text": "drei ü"},
    ]


def test_data_frame_with_line_separators_inside_a_text() -> None:
    text = "a\u2028b\x85c\rd"
    assert read_rows(pandas.DataFrame({"text": [text]})) == [{"text": text}]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"id": 1}\nnot json\n', "rows.jsonl:2"),
        (b'{"id": 1}\n[1, 2]\n', "rows.jsonl:2"),
        (b'{"id": "\xff"}\n', "rows.jsonl:1"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, content: bytes, field: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(Invalid) as caught:
        spool(path)
    assert caught.value.field_violations[0].field == field
    assert caught.value.reason == "ROW_INVALID"


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(Invalid, match=r"latin\.txt is not UTF-8"):
        spool(tmp_path)


@pytest.mark.parametrize("rows", [[{"x": float("nan")}], [{"x": object()}], ["text"], [{"ok": 1}, 3]])
def test_row_that_is_no_json_object(rows) -> None:
    with pytest.raises(Invalid) as caught:
        spool(rows)
    assert caught.value.field_violations[0].field == f"rows[{len(rows) - 1}]"


@pytest.mark.parametrize("source", [[], 3, "/no/such/folder"])
def test_nothing_to_read(source) -> None:
    with pytest.raises(Invalid):
        spool(source)


def test_file_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG")
    with pytest.raises(Invalid, match=r"\.jsonl"):
        spool(path)
    with pytest.raises(Invalid, match="holds no"):
        spool(tmp_path)


def test_files_that_the_platform_reads_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "Paper.PDF"
    path.write_bytes(b"%PDF-1.7 \x00\xff")
    sent = spool(str(path))
    with sent.file:
        assert (b"".join(sent.chunks(3)), sent.file_name, sent.row_count) == (
            b"%PDF-1.7 \x00\xff",
            "Paper.PDF",
            0,
        )
    assert sent.sha256 == hashlib.sha256(b"%PDF-1.7 \x00\xff").hexdigest()
    with pytest.raises(Invalid, match="ingrain dataset upload"):
        read_rows(path)


def test_a_folder_with_such_files_is_one_zip_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("hidden")
    (folder / "sub" / "page.html").write_text("<p>Ä</p>" * 1000)
    (folder / "a.md").write_text("# A")
    (folder / "clip.mp4").write_bytes(b"\0" * 1000)
    sent = spool(folder)
    with sent.file, zipfile.ZipFile(sent.file) as archive:
        assert sent.file_name == "docs.zip"
        assert archive.namelist() == ["a.md", "clip.mp4", "sub/page.html"]
        assert archive.read("sub/page.html").decode() == "<p>Ä</p>" * 1000
        assert archive.getinfo("clip.mp4").file_size == 0  # its name alone, to be counted
    os.utime(folder / "a.md", (1, 1))
    again = spool(folder)
    with again.file:
        assert again.sha256 == sent.sha256
    (folder / "sub" / "page.html").unlink()
    plain = spool(folder)
    with plain.file:
        assert plain.file_name == ""
        assert json.loads(plain.file.read() or b"".join(plain.chunks())) == {
            "id": "a.md",
            "text": "# A",
            "metadata": {"path": "a.md"},
        }
