"""One suite, three servers: what `servicekit.storage` promises, a folder and any S3 must keep."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servicekit.errors import Invalid, NotFound, PermissionDenied, Unavailable
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, checked_key, open_storage


@pytest.fixture(params=["folder", "rclone", "moto"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(ServiceSettings(storage=f"file://{tmp_path / 'storage'}"))
    return open_storage(request.getfixturevalue(f"{request.param}_settings"))


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of one test, apart from those of others on the same server."""
    return "projects/p/" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]


async def test_what_is_put_is_got(storage: Storage, prefix: str) -> None:
    data = os.urandom(100_000)
    stored = await storage.put(f"{prefix}/a.bin", data)
    assert (stored.size_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert await storage.get(f"{prefix}/a.bin") == data
    assert storage.key(stored.uri) == f"{prefix}/a.bin"
    found = await storage.stat(f"{prefix}/a.bin")
    assert found is not None
    assert found.size_bytes == len(data)


async def test_streams_go_in_and_come_out_in_pieces(storage: Storage, prefix: str) -> None:
    pieces = [os.urandom(1 << 20) for _ in range(20)]

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    stored = await storage.put(f"{prefix}/big", chunks())
    whole = b"".join(pieces)
    assert stored.sha256 == hashlib.sha256(whole).hexdigest()
    from_middle = [
        chunk async for chunk in storage.stream(f"{prefix}/big", start=5_000_000, chunk_bytes=700_001)
    ]
    assert b"".join(from_middle) == whole[5_000_000:]
    assert max(map(len, from_middle)) <= 700_001


async def test_files_go_and_come(storage: Storage, prefix: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5000)
    stored = await storage.put_file(f"{prefix}/file", source)
    assert await storage.get_file(f"{prefix}/file", tmp_path / "deep" / "copy") == stored.sha256
    assert (tmp_path / "deep" / "copy").read_bytes() == source.read_bytes()


async def test_an_empty_object_is_an_object(storage: Storage, prefix: str) -> None:
    await storage.put(f"{prefix}/empty", b"")
    assert await storage.get(f"{prefix}/empty") == b""


async def test_lists_are_whole_ordered_and_by_prefix(storage: Storage, prefix: str) -> None:
    keys = [f"{prefix}/{folder}/{number:03d}" for folder in ("a", "ab") for number in range(60)]
    for key in reversed(keys):
        await storage.put(key, b".")
    assert [found.key async for found in storage.list(prefix)] == keys
    assert [found.key async for found in storage.list(f"{prefix}/a/")] == keys[:60]
    assert [found.key async for found in storage.list(f"{prefix}/none")] == []


async def test_what_is_missing_is_not_found(storage: Storage, prefix: str) -> None:
    assert await storage.stat(f"{prefix}/none") is None
    with pytest.raises(NotFound):
        await storage.get(f"{prefix}/none")
    await storage.delete(f"{prefix}/none")


async def test_deleted_is_gone(storage: Storage, prefix: str) -> None:
    await storage.put(f"{prefix}/a", b"1")
    await storage.delete(f"{prefix}/a")
    assert await storage.stat(f"{prefix}/a") is None


async def test_an_attempts_object_may_be_written_again(storage: Storage, prefix: str) -> None:
    await storage.put(f"{prefix}/a", b"first")
    await storage.put(f"{prefix}/a", b"second")
    assert await storage.get(f"{prefix}/a") == b"second"


@pytest.mark.parametrize(
    "key", ["", "/", "a//b", "../up", "a/../b", ".hidden", "a/.part-1", "ä", "a b", "a" * 200]
)
async def test_only_our_own_keys(storage: Storage, key: str) -> None:
    with pytest.raises(Invalid):
        await storage.put(key, b"")


def test_long_keys_are_refused() -> None:
    with pytest.raises(Invalid):
        checked_key("/".join(["a" * 100] * 10))


async def test_a_wrong_secret_is_said(rclone_settings: ServiceSettings) -> None:
    wrong = rclone_settings.model_copy(update={"s3_secret_key": type(rclone_settings.s3_secret_key)("wrong")})
    with pytest.raises(PermissionDenied, match="secret key"):
        await open_storage(wrong).put("projects/p/a", b"")


async def test_a_server_that_is_away_is_unavailable() -> None:
    settings = ServiceSettings(storage="s3://bucket", s3_endpoint="127.0.0.1:9", s3_secure=False)
    with pytest.raises(Unavailable):
        await open_storage(settings).get("projects/p/a")


PUT = """
import asyncio, sys
from servicekit.settings import ServiceSettings
from servicekit.storage import open_storage
asyncio.run(open_storage(ServiceSettings(storage=sys.argv[1])).put("projects/p/a", b"new" * 1000))
"""


@pytest.mark.parametrize(("place", "content"), [("before", b"old"), ("after", b"new" * 1000)])
async def test_a_killed_put_leaves_the_old_or_the_new(tmp_path: Path, place: str, content: bytes) -> None:
    uri = f"file://{tmp_path / 'storage'}"
    storage = open_storage(ServiceSettings(storage=uri))
    await storage.put("projects/p/a", b"old")
    failpoint = {"INGRAIN_FAILPOINT": f"storage.{place}_rename"}
    killed = subprocess.run([sys.executable, "-c", PUT, uri], env=os.environ | failpoint, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert await storage.get("projects/p/a") == content
    assert [found.key async for found in storage.list("projects/")] == ["projects/p/a"]
