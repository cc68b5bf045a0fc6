"""What processes write is kept: by parts, without secrets, whole after an error."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_storage
from services.trainer import logs

MODEL = "projects/p/models/m"
PREFIX = f"{MODEL}/operation-1"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(ServiceSettings(storage=f"file://{tmp_path}/storage"))


def read(storage: Storage) -> list[str]:
    async def lines() -> list[str]:
        return [line async for part in logs.read_log(storage, MODEL) for line in part.lines]

    return asyncio.run(lines())


SCRIPT = """
import os, subprocess, sys, time
from servicekit.settings import ServiceSettings
from servicekit.storage import open_storage
from services.trainer.logs import kept
with kept(open_storage(ServiceSettings()), "projects/p/models/m/operation-1"):
    print("a line of Python's")
    subprocess.run(["echo", "a line of a child's"])
    print("the key is", os.environ["INGRAIN_S3_SECRET_KEY"], file=sys.stderr)
    os.write(1, b"half 10%\\rhalf 50%\\rwhole 100%\\n")
    print("without an end", end="", flush=True)
    if len(sys.argv) > 1:
        raise ValueError("what went wrong")
print("after it")
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "INGRAIN_STORAGE": f"file://{tmp_path}/storage",
        "INGRAIN_S3_SECRET_KEY": "not-for-anybody",
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_process_writes_as_before_and_its_lines_are_kept(storage: Storage, tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0
    assert "a line of a child's" in done.stderr + done.stdout
    assert done.stdout.endswith("after it\n")
    head, *lines = read(storage)
    assert head == "--- attempt 1: operation-1"
    assert set(lines) == {
        "a line of Python's",
        "a line of a child's",
        "the key is [secret]",
        "whole 100%",
        "without an end",
    }


def test_an_error_is_kept_with_its_traceback(storage: Storage, tmp_path: Path) -> None:
    assert run(tmp_path, "fail").returncode == 1
    text = "\n".join(read(storage))
    assert "Traceback" in text
    assert "ValueError: what went wrong" in text


def test_parts_are_there_while_it_runs_and_attempts_come_in_their_order(storage: Storage) -> None:
    async def write() -> None:
        for fence in (10, 9):
            writer = logs.LogWriter(storage, f"{MODEL}/operation-{fence}", {})
            writer.add(b"first of %d\nhalf" % fence)
            await writer.put_all()
            writer.add(b" and half\n")
            await writer.put_all(last=True)

    asyncio.run(write())
    assert read(storage) == [
        "--- attempt 1: operation-9",
        "first of 9",
        "half and half",
        "--- attempt 2: operation-10",
        "first of 10",
        "half and half",
    ]


def test_a_storage_that_is_away_loses_no_line(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(key: str, data: bytes) -> None:
        raise OSError("away")

    writer = logs.LogWriter(storage, PREFIX, {})
    writer.add(b"one\n")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", away)
        with pytest.raises(OSError, match="away"):
            asyncio.run(writer.put_all())
        writer.add(b"two\n")
    asyncio.run(writer.put_all())
    assert read(storage)[1:] == ["one", "two"]


def test_what_is_too_much_is_said_and_left_out(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 3000)
    monkeypatch.setattr(logs, "PART_BYTES", 1000)
    writer = logs.LogWriter(storage, PREFIX, {})
    writer.add(b"".join(b"line %d\n" % n for n in range(1000)))
    asyncio.run(writer.put_all(last=True))
    lines = read(storage)
    assert lines[1:4] == ["line 0", "line 1", "line 2"]
    assert "what follows is not kept" in lines[-1]
    assert 300 < len(lines) < 400


def test_credentials_are_left_out() -> None:
    redaction = logs.Redaction({"HF_TOKEN": "hf_abcdefgh", "PATH": "/usr/bin", "A_KEY": "short"})
    assert redaction("hf_abcdefgh /usr/bin short") == "[secret] /usr/bin short"
    assert redaction("postgresql://user:word@host/x") == "postgresql://[secret]@host/x"
    assert redaction("redis://:word@host/0") == "redis://[secret]@host/0"
    assert redaction("hf://org/name@revision and s3://bucket:8000/key@2") == (
        "hf://org/name@revision and s3://bucket:8000/key@2"
    )
    assert logs.Redaction({"DB_PASS": "not-for-anybody"})("by not-for-anybody") == "by [secret]"


def test_what_ray_has_of_a_driver_that_never_began_is_kept(storage: Storage) -> None:
    asyncio.run(logs.keep_tail(storage, PREFIX, "ModuleNotFoundError: No module named 'services'"))
    asyncio.run(logs.keep_tail(storage, PREFIX, "again"))
    assert read(storage)[1:] == ["ModuleNotFoundError: No module named 'services'"]
