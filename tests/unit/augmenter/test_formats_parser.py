"""A file may break its parser and costs itself only: the next file is read by another, and the service goes on."""

import asyncio
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.formats.parser import Parser
from tests.unit.augmenter import samples


def bounds(most_s: float = 20.0, most_memory_bytes: int = 1 << 30) -> Bounds:
    return Bounds(1000, 1 << 30, 1 << 28, 1 << 24, 200, 1, 500, most_s, most_memory_bytes)


async def read(parser: Parser, path: Path, family: str) -> list[dict[str, Any]]:
    return [frame async for frame in parser.frames(path, path.name, family)]


async def refusal(parser: Parser, path: Path, family: str) -> str:
    with pytest.raises(Refused) as caught:
        await read(parser, path, family)
    return caught.value.reason


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.md"
    path.write_text("# Good\n")
    return path


GOOD = [{"rows": [{"id": "good.md", "text": "# Good", "metadata": {"path": "good.md"}}]}]


async def test_one_process_reads_many_files(tmp_path: Path, good: Path) -> None:
    async with Parser(bounds()) as parser:
        assert await read(parser, good, "text") == GOOD
        assert await refusal(parser, samples.scan(tmp_path / "scan.pdf"), "pdf") == "NO_TEXT"
        assert await read(parser, good, "text") == GOOD
        assert parser.started == 1


async def test_a_file_that_hangs_its_parser_is_given_up(tmp_path: Path, good: Path) -> None:
    page = tmp_path / "deep.html"
    page.write_bytes(samples.deep_page(300_000))
    async with Parser(bounds(most_s=1.0)) as parser:
        started = time.monotonic()
        reading = asyncio.create_task(refusal(parser, page, "html"))
        ticks = 0
        while not reading.done():
            await asyncio.sleep(0.05)
            ticks += 1
        assert await reading == "TOO_SLOW"
        assert time.monotonic() - started < 5.0
        assert ticks > 10  # others are served meanwhile
        assert await read(parser, good, "text") == GOOD
        assert parser.started == 2


async def test_a_file_that_eats_memory_is_given_up(tmp_path: Path, good: Path) -> None:
    bomb = samples.parquet_bomb(tmp_path / "bomb.parquet")
    assert bomb.stat().st_size < 1 << 20
    mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with Parser(bounds(most_memory_bytes=600 << 20)) as parser:
        assert await refusal(parser, bomb, "parquet") in ("TOO_MUCH_MEMORY", "PARSER_DIED")
        assert await read(parser, good, "text") == GOOD
        assert parser.started == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - mine < 50 << 10  # KiB


@pytest.mark.parametrize(
    "program", ["import os; os.kill(os.getpid(), 11)", "raise SystemExit(3)", "print('no frame', flush=True)"]
)
async def test_a_parser_that_dies_or_talks_nonsense_is_told(program: str, good: Path) -> None:
    async with Parser(bounds(most_s=2.0), ["-c", program]) as parser:
        assert await refusal(parser, good, "text") in ("PARSER_DIED", "TOO_LARGE")


async def test_the_parser_has_nothing_of_the_services_environment(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGRAIN_SERVICE_TOKEN", "secret")
    program = (
        "import os, sys, json, struct; sys.stdin.readline();"
        "raw = json.dumps({'env': sorted(os.environ)}).encode();"
        "sys.stdout.buffer.write(struct.pack('>I', len(raw)) + raw)"
    )
    async with Parser(bounds(), ["-c", program]) as parser:
        frames = parser.frames(good, "good.md", "text")
        told = (await anext(frames))["env"]
        await frames.aclose()
    assert "PYTHONPATH" in told
    assert not [name for name in told if "INGRAIN" in name]


async def test_no_more_parsers_than_there_is_room_for(good: Path) -> None:
    room = asyncio.Semaphore(1)

    async def another() -> list[dict[str, Any]]:
        async with Parser(bounds(), room=room) as parser:
            return await read(parser, good, "text")

    async with Parser(bounds(), room=room) as parser:
        assert await read(parser, good, "text") == GOOD
        waiting = asyncio.create_task(another())
        assert await read(parser, good, "text") == GOOD
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert await waiting == GOOD
    async with Parser(bounds(), room=room):
        pass  # nothing was read: no room was taken, and none is given back
    assert room._value == 1


async def test_it_ends_with_who_asked(good: Path) -> None:
    async with Parser(bounds()) as parser:
        await read(parser, good, "text")
        assert parser._process is not None
        pid = parser._process.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_parser_that_waits_for_something_is_given_up(good: Path) -> None:
    async with Parser(bounds(most_s=0.3), ["-c", "import time; time.sleep(60)"]) as parser:
        started = time.monotonic()
        assert await refusal(parser, good, "text") == "TOO_SLOW"
        assert 1.0 < time.monotonic() - started < 5.0


async def test_a_parser_without_a_service_runs_out_of_processor_time(tmp_path: Path) -> None:
    """As after a SIGKILL of the service in the middle of a file that hangs."""
    page = tmp_path / "deep.html"
    page.write_bytes(samples.deep_page(300_000))
    from services.augmenter.formats.child import arguments

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments(bounds(most_s=1.0)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(f'{{"file": "{page}", "path": "deep.html", "family": "html", "into": ""}}\n'.encode())
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) < 0


def test_what_it_imports_is_light() -> None:
    """Readers are imported by the files that need them, arrow by parquet alone."""
    import subprocess

    program = (
        "import sys; import services.augmenter.formats.child;"
        "print([m for m in ('pyarrow', 'mammoth', 'pypdfium2', 'selectolax', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
