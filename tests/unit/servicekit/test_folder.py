"""What only a folder can do wrong."""

import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servicekit.errors import Exhausted, Invalid, NotFound
from servicekit.folder import ABANDONED_S, PARTS, FolderStorage
from servicekit.settings import ServiceSettings
from servicekit.storage import checked_key, open_root, open_uri


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "storage")


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab./\\.-_=\0 ~é"), max_size=20))
def test_no_key_leaves_the_folder(key: str) -> None:
    try:
        checked_key(key)
    except Invalid:
        return
    assert os.path.normpath(f"/storage/{key}") == f"/storage/{key}"
    assert not any(part.startswith(".") for part in key.split("/"))


async def test_a_full_disk_is_said_and_leaves_nothing(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.put("projects/p/a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted) as caught:
        await storage.put("projects/p/a", b"new")
    assert caught.value.reason == "STORAGE_FULL"
    assert await storage.get("projects/p/a") == b"old"
    assert list((storage.folder / PARTS).iterdir()) == []


async def test_a_stream_that_breaks_leaves_nothing(storage: FolderStorage) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await storage.put("projects/p/a", breaks())
    assert await storage.stat("projects/p/a") is None
    assert list((storage.folder / PARTS).iterdir()) == []


async def test_an_object_is_no_folder(storage: FolderStorage) -> None:
    await storage.put("projects/p/a", b"1")
    for key in ("projects/p/a/b", "projects/p"):
        with pytest.raises(Invalid):
            await storage.put(key, b"2")
        assert await storage.stat(key) is None
        await storage.delete(key)
        with pytest.raises(NotFound):
            await storage.get(key)
    assert await storage.get("projects/p/a") == b"1"


async def test_what_killed_processes_left_behind_goes_after_a_day(storage: FolderStorage) -> None:
    parts = storage.folder / PARTS
    parts.mkdir(parents=True)
    (parts / "old").write_bytes(b"x" * 100)
    (parts / "young").write_bytes(b"x")
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(parts / "old", (long_ago, long_ago))
    await storage.put("projects/p/a", b"1")
    assert [path.name for path in parts.iterdir()] == ["young"]
    assert [found.key async for found in storage.list("")] == ["projects/p/a"]


@pytest.mark.parametrize(
    "uri",
    ["", "folder", "/folder", "file://folder/x", "file://", "file:///", "http://x/y", "s3://", "s3:///key"],
)
def test_what_is_no_storage(uri: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_root(uri, ServiceSettings())
    assert caught.value.reason == "UNKNOWN_STORAGE"


@pytest.mark.parametrize(
    ("own", "source", "refused"),
    [
        ("s3://b/ingrain", "s3://b/ingrain/projects/q/datasets/d", True),
        ("s3://b/ingrain", "s3://b/ingrain", True),
        ("s3://b/ingrain", "s3://b/ing", True),  # as a prefix it would list the platform's objects
        ("s3://b/ingrain", "s3://b", True),
        ("s3://b", "s3://b/anything", True),
        ("s3://b/ingrain", "s3://b/models/m", False),
        ("s3://b/ingrain", "s3://b/ingrain-sources/m", False),
        ("s3://b/ingrain", "s3://other/ingrain", False),
        ("file:///storage", "s3://b/x", False),
    ],
)
def test_nobody_imports_what_the_platform_keeps_for_others(own: str, source: str, refused: bool) -> None:
    settings = ServiceSettings(storage=own, s3_endpoint="127.0.0.1:9", s3_secure=False)
    if refused:
        with pytest.raises(Invalid) as caught:
            open_uri(source, settings)
        assert caught.value.reason == "OWN_STORAGE"
    else:
        _, key = open_uri(source, settings)
        assert source.endswith(key)
