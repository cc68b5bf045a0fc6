"""The parser as the service sees it: asked about a file, it answers, is refused, or is ended and started again."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.formats.child import LENGTH, arguments

_ROOT = Path(__file__).parents[3]
_WAIT = 4  # times as long by the clock as of a processor: others are at work on this machine, too
_MOST_FRAME_BYTES = 1 << 28  # a document's characters as JSON
# Nothing of the service's environment, where its credentials are. Arrow's own allocator reserves more than it uses.
_ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OMP_NUM_THREADS": "1",
}


class Parser:
    """One child process for many files; `async with` ends it. Not for two files at a time. `room`: taken from the first
    file on, so that no more parsers are at work than there is memory for."""

    def __init__(
        self, bounds: Bounds, program: list[str] | None = None, room: asyncio.Semaphore | None = None
    ) -> None:
        self.bounds = bounds
        self._room = room
        self._has_room = False
        self.started = 0  # processes so far
        self._program = program or arguments(bounds)
        self._process: Process | None = None

    async def __aenter__(self) -> "Parser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()
        if self._room is not None and self._has_room:
            self._has_room = False
            self._room.release()

    async def frames(
        self, file: Path, path: str, family: str, into: Path | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """What is found in the file, as the child tells it. Refused as the child does, and TOO_SLOW or PARSER_DIED."""
        process = await self._running()
        assert process.stdin is not None
        request = {"file": str(file), "path": path, "family": family, "into": str(into) if into else ""}
        finished, received_bytes = False, 0
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                await process.stdin.drain()
            while True:
                size, frame = await self._frame(process)
                received_bytes += size
                if received_bytes > self.bounds.most_bytes:
                    raise Refused("TOO_LARGE", f"holds more than {self.bounds.most_bytes} bytes of rows")
                if "refused" in frame:
                    finished = frame["refused"][0] != "TOO_MUCH_MEMORY"
                    raise Refused(*frame["refused"])
                if "end" in frame:
                    finished = True
                    return
                yield frame
        finally:
            if not finished:
                await self._end()

    async def _frame(self, process: Process) -> tuple[int, dict[str, Any]]:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_WAIT * self.bounds.most_s):
                length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
                if length > _MOST_FRAME_BYTES:
                    raise Refused("TOO_LARGE", "has more text than a document may have")
                return length, json.loads(await process.stdout.readexactly(length))
        except TimeoutError:
            raise Refused(
                "TOO_SLOW", f"kept its parser at work for more than {_WAIT * self.bounds.most_s:g} s"
            ) from None
        except asyncio.IncompleteReadError:
            code = await process.wait()
            if code == -signal.SIGXCPU:
                raise Refused("TOO_SLOW", f"took more than {self.bounds.most_s:g} s of a processor") from None
            told = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            raise Refused("PARSER_DIED", f"broke its parser ({told})") from None

    async def _running(self) -> Process:
        if self._room is not None and not self._has_room:
            await self._room.acquire()
            self._has_room = True
        if self._process is None or self._process.returncode is not None:
            path = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._program,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={**_ENVIRONMENT, "PYTHONPATH": path},
                start_new_session=True,
            )
            self.started += 1
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        # To the end of what it wrote: asyncio lets go of a process only when its pipes are closed.
        await process.stdout.read()
        await process.wait()
