"""Counts and durations: of storage calls, refusals and tokens; and nothing of a caller's in them."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from servicekit import metrics
from servicekit.errors import Invalid, NotFound, Unavailable
from servicekit.folder import FolderStorage
from servicekit.settings import ServiceSettings


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def storage_calls(operation: str, outcome: str) -> float:
    return value("ingrain_storage_call_duration_seconds_count", operation=operation, outcome=outcome)


async def test_storage_calls_are_counted_by_outcome(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    calls = [
        ("put", "ok"),
        ("read", "ok"),
        ("read", "not_found"),
        ("stat", "ok"),
        ("list", "ok"),
        ("delete", "ok"),
    ]
    before = [storage_calls(*call) for call in calls]
    await storage.put("a/b", b"bytes")
    assert await storage.get("a/b") == b"bytes"
    with pytest.raises(NotFound):
        await storage.get("a/c")
    assert await storage.stat("a/b")
    assert [found.key async for found in storage.list("a/")] == ["a/b"]
    await storage.delete("a/b")
    assert [storage_calls(*call) - was for call, was in zip(calls, before, strict=True)] == [1] * len(calls)


async def test_a_storage_that_fails_is_an_error_and_a_caller_who_leaves_is_none() -> None:
    class Storage:
        @metrics.timed_call("put")
        async def put(self) -> None:
            raise Unavailable("STORAGE_FAILED", "away")

        @metrics.timed_stream("read")
        async def read(self) -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

    errors, reads = storage_calls("put", "error"), storage_calls("read", "ok")
    with pytest.raises(Unavailable):
        await Storage().put()
    stream: Any = Storage().read()
    assert await anext(stream) == b"a"
    await stream.aclose()
    assert (storage_calls("put", "error") - errors, storage_calls("read", "ok") - reads) == (1, 1)


async def test_what_a_reader_does_between_pieces_is_not_the_storages() -> None:
    @metrics.timed_stream("read")
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"

    name, labels = "ingrain_storage_call_duration_seconds_sum", {"operation": "read", "outcome": "ok"}
    before = value(name, **labels)
    async for _ in pieces():
        await asyncio.sleep(0.3)
    assert value(name, **labels) - before < 0.3


def test_refusals_are_counted_by_reason_and_no_text_becomes_a_label() -> None:
    before = value("ingrain_refusals_total", reason="BAD_ROW")
    metrics.refused(Invalid("BAD_ROW", "row 7 of projects/secret"))
    metrics.refused(Invalid("said by projects/secret", "whatever"))
    metrics.refused(RuntimeError("projects/secret"))
    assert value("ingrain_refusals_total", reason="BAD_ROW") - before == 1
    assert value("ingrain_refusals_total", reason="OTHER") >= 1
    assert value("ingrain_refusals_total", reason="INTERNAL") >= 1
    assert b"secret" not in generate_latest(metrics.REGISTRY)


def test_tokens_are_counted_once_each() -> None:
    ways = ("input", "cached", "output")
    before = [value("ingrain_tokens_total", kind="generate", direction=way) for way in ways]
    metrics.tokens("generate", read=10, cached=4, written=3)
    after = [value("ingrain_tokens_total", kind="generate", direction=way) for way in ways]
    assert [now - was for now, was in zip(after, before, strict=True)] == [6, 4, 3]


def test_served_where_it_is_set_and_not_elsewhere() -> None:
    assert metrics.serve(ServiceSettings(), "test") is None
    server = metrics.serve(ServiceSettings(metrics_port=0), "test")
    assert server is not None
    address = f"http://127.0.0.1:{server.server_port}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert 'ingrain_build_info{service="test",version=' in answer.read().decode()
    metrics.stop(server)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=10)
