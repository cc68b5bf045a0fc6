"""What a training's processes wrote, kept in object storage under the attempt: `log/000001.txt` and so on.

The driver writes the parts while it runs; Ray forwards to it what the workers write. Nothing of it needs Ray, the driver or the trainer to
be there any longer. Values of secret variables and credentials in URIs are left out.
"""

import asyncio
import contextlib
import os
import re
import select
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping

from ingrain.v1 import trainer_pb2
from servicekit.storage import Storage
from services.trainer.outages import OUTAGES, within

PART_SECONDS = 1.0
PART_BYTES = 256 << 10
MOST_BYTES = 64 << 20  # of one attempt; a training that writes more says so and goes on
LINE_CHARACTERS = 4000
MESSAGE_LINES = 500
READ_BYTES = 64 << 10
QUIET_SECONDS = 0.2  # without a byte after the end: nothing comes any more
SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL")
SECRET_CHARACTERS = 8  # shorter values would blank ordinary words
URI_CREDENTIALS = re.compile(r"://[^/\s:@]*:[^/\s@]+@")  # some have no user, but a password


def log_key(prefix: str, part: int) -> str:
    return f"{prefix}/log/{part:06d}.txt"


class Redaction:
    """Leaves secrets out of lines."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = {
            value
            for name, value in environment.items()
            if SECRET_NAMES.search(name.upper()) and len(value) >= SECRET_CHARACTERS
        }
        # The longest first: one may be a part of another.
        self.values = sorted(values, key=len, reverse=True)

    def __call__(self, line: str) -> str:
        for value in self.values:
            line = line.replace(value, "[secret]")
        return URI_CREDENTIALS.sub("://[secret]@", line)


class LogWriter:
    """Turns bytes into lines and lines into parts. A storage that is away is tried again with the next part."""

    def __init__(self, storage: Storage, prefix: str, environment: Mapping[str, str] = os.environ) -> None:
        self.storage = storage
        self.prefix = prefix
        self.redaction = Redaction(environment)
        self.lock = threading.Lock()
        self.part = 0
        self.begun = b""  # a line without its end
        self.waiting = ""
        self.unwritten = b""
        self.taken_bytes = 0

    def add(self, data: bytes) -> None:
        *lines, self.begun = (self.begun + data).split(b"\n")
        if len(self.begun) > 4 * LINE_CHARACTERS:
            lines, self.begun = [*lines, self.begun], b""
        for line in lines:
            self.add_line(line)

    def add_line(self, line: bytes) -> None:
        if self.taken_bytes > MOST_BYTES:
            return
        # Of a progress bar that draws over itself only its last state.
        text = line.decode(errors="replace").rstrip("\r").rsplit("\r", 1)[-1]
        text = self.redaction(text)[:LINE_CHARACTERS]
        self.taken_bytes += len(text) + 1
        if self.taken_bytes > MOST_BYTES:
            text = f"[more than {MOST_BYTES >> 20} MiB: what follows is not kept]"
        with self.lock:
            self.waiting += text + "\n"

    async def put_all(self, last: bool = False) -> None:
        """A part that storage may have taken is put again as it was: it may have been read."""
        if last and self.begun:
            self.add(b"\n")
        while self.unwritten or self.waiting:
            if not self.unwritten:
                with self.lock:
                    text, self.waiting = self.waiting[:PART_BYTES], self.waiting[PART_BYTES:]
                    if self.waiting:  # a part ends with a line
                        cut = text.rfind("\n") + 1
                        text, self.waiting = text[:cut], text[cut:] + self.waiting
                self.unwritten = text.encode()
            await self.storage.put(log_key(self.prefix, self.part + 1), self.unwritten)
            self.part += 1
            self.unwritten = b""


@contextlib.contextmanager
def kept(storage: Storage, prefix: str, wait_s: float = 0.0) -> Iterator[LogWriter]:
    """All that this process and its children write to stdout and stderr in the block is kept, and still written where it was.
    An error that leaves the block is in it, with its traceback."""
    writer = LogWriter(storage, prefix)
    before = {number: os.dup(number) for number in (1, 2)}
    into, out = os.pipe()
    flush()
    for number in before:
        os.dup2(out, number)
    os.close(out)
    ending = threading.Event()
    reading = threading.Thread(target=copy, args=(into, before[1], writer, ending), daemon=True)
    putting = threading.Thread(target=put_parts, args=(writer, ending), daemon=True)
    reading.start()
    putting.start()
    try:
        yield writer
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        flush()
        for number, old in before.items():
            os.dup2(old, number)
        ending.set()
        reading.join()
        putting.join()
        for old in (*before.values(), into):
            os.close(old)
        with contextlib.suppress(*OUTAGES):
            asyncio.run(within(wait_s, lambda: writer.put_all(last=True)))


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()


def copy(into: int, original: int, writer: LogWriter, ending: threading.Event) -> None:
    """Until the pipe is closed, or is quiet after the end: a child may hold it open for ever."""
    while True:
        ready, _, _ = select.select([into], [], [], QUIET_SECONDS)
        if not ready:
            if ending.is_set():
                return
            continue
        data = os.read(into, READ_BYTES)
        if not data:
            return
        with contextlib.suppress(OSError):
            os.write(original, data)
        writer.add(data)


def put_parts(writer: LogWriter, ending: threading.Event) -> None:
    while not ending.wait(PART_SECONDS):
        with contextlib.suppress(*OUTAGES):
            asyncio.run(writer.put_all())


async def keep_tail(storage: Storage, prefix: str, text: str) -> str:
    """What Ray has of a driver that ended, without secrets; kept where the driver could not write its own log."""
    redaction = Redaction(os.environ)
    lines = "".join(f"{redaction(line)}\n" for line in text.splitlines())
    with contextlib.suppress(*OUTAGES):
        if lines and await storage.stat(log_key(prefix, 1)) is None:
            await storage.put(log_key(prefix, 1), lines.encode())
    return lines


async def read_log(storage: Storage, model: str) -> AsyncIterator[trainer_pb2.ReadTrainingLogResponse]:
    """The log of all attempts at the model, in their order; each begins with a line that names it."""
    attempts: dict[str, list[str]] = {}
    async for found in storage.list(f"{model}/"):
        prefix, log, _ = found.key.rpartition("/log/")
        if log:
            attempts.setdefault(prefix, []).append(found.key)
    for number, prefix in enumerate(sorted(attempts, key=fence_of), start=1):
        yield trainer_pb2.ReadTrainingLogResponse(
            lines=[f"--- attempt {number}: {prefix.rsplit('/', 1)[-1]}"]
        )
        for key in sorted(attempts[prefix]):
            lines = (await storage.get(key)).decode().splitlines()
            for start in range(0, len(lines), MESSAGE_LINES):
                yield trainer_pb2.ReadTrainingLogResponse(lines=lines[start : start + MESSAGE_LINES])


def fence_of(prefix: str) -> tuple[int, str]:
    """Attempts are `{operation}-{fence}`, and fences grow."""
    fence = prefix.rpartition("-")[2]
    return (int(fence) if fence.isdigit() else 0, prefix)
