"""Tables give rows by the names of their columns, archives give files, and neither more than they may."""

import bz2
import datetime
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.augmenter.formats import tables
from services.augmenter.formats.archives import Left, Member, unpacked
from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.rows import RowChecker
from tests.unit.augmenter import samples

BOUNDS = Bounds(50, 64 << 20, 1 << 26, 1 << 24, 200, 1, 500, 20.0, 1 << 30)


def csv_of(tmp_path: Path, content: str, name: str = "t.csv") -> list[Any]:
    path = tmp_path / name
    path.write_text(content)
    return list(tables.csv_rows(path, name, BOUNDS))


CASES = [
    (
        'id,text,metadata,page\n7,Hello,"{""a"": 1}",3\n',
        {"id": "7", "text": "Hello", "metadata": {"path": "t.csv", "page": "3", "a": 1}},
    ),
    ("prompt;completion\nA, b;C\n", {"id": "t.csv:1", "prompt": "A, b", "completion": "C"}),
    (
        'question\tanswers\tkind\nWho?\t["Ann", "Bob"]\tlist\n',
        {"id": "t.csv:1", "question": "Who?", "answers": ["Ann", "Bob"], "kind": "list"},
    ),
    (
        "question,answer\nWho?,Ann\n",
        {"id": "t.csv:1", "question": "Who?", "answers": ["Ann"], "kind": "question"},
    ),
    (
        'prompt,choices,answer\nIt is,"[""a"",""b""]",a\n',
        {"id": "t.csv:1", "prompt": "It is", "choices": ["a", "b"], "answer": "a", "kind": "question"},
    ),
    (
        "Name,Born,Note\nAnn,1990,\n",
        {"id": "t.csv:1", "text": "Name: Ann\nBorn: 1990", "metadata": {"path": "t.csv"}},
    ),
]


@pytest.mark.parametrize(("content", "row"), CASES)
def test_csv_rows_are_shaped_by_their_columns(tmp_path: Path, content: str, row: dict[str, Any]) -> None:
    assert csv_of(tmp_path, content) == [row]
    assert RowChecker().check(row) == row


def test_rows_without_values_are_told(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "a,b\n1,2\n,\n\n3,4,5\n") == [
        {"id": "t.csv:1", "text": "a: 1\nb: 2", "metadata": {"path": "t.csv"}},
        None,
        None,
        {"id": "t.csv:4", "text": "a: 3\nb: 4", "metadata": {"path": "t.csv"}},
    ]


def test_parquet_keeps_types_that_json_has(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pandas.DataFrame(
        {
            "text": ["one", "two"],
            "when": [datetime.date(2020, 1, 2), None],
            "score": [0.5, float("nan")],
            "tags": [["a"], []],
            "raw": [b"\xff", b"ok"],
        }
    )
    frame.to_parquet(path)
    assert list(tables.parquet_rows(path, "t.parquet", BOUNDS)) == [
        {
            "id": "t.parquet:1",
            "text": "one",
            "metadata": {
                "path": "t.parquet",
                "when": "2020-01-02",
                "score": 0.5,
                "tags": ["a"],
                "raw": "/w==",
            },
        },
        {"id": "t.parquet:2", "text": "two", "metadata": {"path": "t.parquet", "raw": "ok"}},
    ]


def test_conversations_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    pandas.DataFrame({"messages": [messages]}).to_parquet(path)
    (row,) = tables.parquet_rows(path, "t.parquet", BOUNDS)
    assert row == {"id": "t.parquet:1", "messages": messages}
    assert RowChecker().check(row)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_rows_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(content)
    reason, rows = "", []
    try:
        rows = list(tables.csv_rows(path, "t.csv", BOUNDS))
    except Refused as refused:
        reason = refused.reason
    assert reason in ("", "NOT_TEXT", "NOT_UTF8", "BROKEN_FILE")
    assert all(isinstance(row["id"], str) for row in rows if row is not None)


def found_in(path: Path, family: str, into: Path | None, bounds: Bounds = BOUNDS) -> list[Member | Left]:
    return list(unpacked(path, family, path.name, into, bounds))


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_tars_give_files_and_leave_what_leads_out_of_them(tmp_path: Path, ending: str) -> None:
    path, into = tmp_path / f"a.{ending}", tmp_path / "into"
    into.mkdir()
    with tarfile.open(path, f"w:{ending.partition('.')[2]}") as archive:
        for name, kind, link in (
            ("docs/a.md", tarfile.REGTYPE, ""),
            ("docs/link.md", tarfile.SYMTYPE, "/etc/passwd"),
            ("docs/hard.md", tarfile.LNKTYPE, "docs/a.md"),
            ("docs/pipe.md", tarfile.FIFOTYPE, ""),
            ("../evil.md", tarfile.REGTYPE, ""),
            ("/etc/evil.md", tarfile.REGTYPE, ""),
            ("docs/a.md", tarfile.REGTYPE, ""),
            (".git/config.md", tarfile.REGTYPE, ""),
            ("docs/picture.png", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 5 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"hello"))
    found = found_in(path, "tar", into)
    assert found == [
        Member("docs/a.md", "000001", 5),
        Left("docs/link.md", "link"),
        Left("docs/hard.md", "link"),
        Left("docs/pipe.md", "no file"),
        Left("../evil.md", "unsafe path"),
        Left("/etc/evil.md", "unsafe path"),
        Left("docs/a.md", "repeated name"),
        Left(".git/config.md", "hidden"),
        Member("docs/picture.png", "", 0),
    ]
    assert [(p.name, p.read_bytes()) for p in into.iterdir()] == [("000001", b"hello")]
    assert not (tmp_path / "evil.md").exists()
    assert [member.path for member in found_in(path, "tar", None)] == [member.path for member in found]


def test_zips_give_files_and_leave_what_leads_out_of_them(tmp_path: Path) -> None:
    path, into = tmp_path / "a.zip", tmp_path / "into"
    into.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("a.md", "..\\evil.md", "C:/evil.md", "__MACOSX/a.md", "sub/b.html"):
            archive.writestr(name, name)
    assert found_in(path, "zip", into) == [
        Left("link.md", "link"),
        Member("a.md", "000002", 4),
        Left("../evil.md", "unsafe path"),
        Left("C:/evil.md", "unsafe path"),
        Left("__MACOSX/a.md", "hidden"),
        Member("sub/b.html", "000006", 10),
    ]


def test_files_that_are_merely_compressed(tmp_path: Path) -> None:
    for ending, compress in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        path, into = tmp_path / f"notes.txt{ending}", tmp_path / ending
        into.mkdir()
        path.write_bytes(compress(b"hello"))
        assert found_in(path, "compressed", into) == [Member("notes.txt", "000001", 5)]
        assert (into / "000001").read_bytes() == b"hello"


def test_bombs_are_refused_whatever_their_headers_say(tmp_path: Path) -> None:
    zeros = b"\0" * (60 << 20)
    honest = samples.zipped({"a.txt": zeros})
    lying = bytearray(honest)
    place = honest.rindex(b"PK\x01\x02") + 24
    lying[place : place + 4] = (5).to_bytes(4, "little")  # says that it unpacks to five bytes
    many = samples.zipped({f"{n}.txt": b"" for n in range(60)})
    for name, family, content, reasons in (
        ("a.zip", "zip", honest, {"ARCHIVE_BOMB"}),
        ("l.zip", "zip", bytes(lying), {"ARCHIVE_BOMB", "BROKEN_FILE"}),
        ("a.txt.gz", "compressed", gzip.compress(zeros), {"ARCHIVE_BOMB"}),
        ("a.txt.xz", "compressed", lzma.compress(zeros), {"ARCHIVE_BOMB"}),
        ("m.zip", "zip", many, {"TOO_MANY_FILES"}),
        ("no.zip", "zip", b"hello", {"NOT_ITS_ENDING"}),
        ("no.tar", "tar", b"hello" * 200, {"NOT_ITS_ENDING"}),
        ("no.txt.gz", "compressed", b"hello", {"BROKEN_FILE"}),
        ("cut.txt.gz", "compressed", gzip.compress(b"hello" * 999)[:-9], {"BROKEN_FILE"}),
    ):
        path, into = tmp_path / name, tmp_path / f"{name}.d"
        into.mkdir()
        path.write_bytes(content)
        with pytest.raises(Refused) as caught:
            found_in(path, family, into)
        assert caught.value.reason in reasons, name
        assert sum(p.stat().st_size for p in into.iterdir()) <= 20 << 20, name
