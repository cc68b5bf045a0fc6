"""Server-sent events, and several streams side by side."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from aiohttp import web

from services.gateway.http.calls import BROKE, described
from services.gateway.http.errors import SERVER, Problem

KEEP_ALIVE_S = 10.0  # a long context may take minutes to read; proxies give up on silence
WRITE_S = 60.0  # whoever takes nothing for so long is gone
END: Any = object()
Item = TypeVar("Item")


class Events:
    """The answer to `request` as events. Nothing is sent before there is something to say: an error by then is answered
    with its own status; after that it is an event, and the last one."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
                "X-Accel-Buffering": "no",
            }
        )

    async def send(self, events: AsyncGenerator[dict[str, Any]]) -> web.StreamResponse:
        coming = asyncio.ensure_future(anext(events, END))
        try:
            while True:
                if not (await asyncio.wait([coming], timeout=KEEP_ALIVE_S))[0]:
                    await self._write(": nothing yet\n\n")
                    continue
                event = coming.result()
                if event is END:
                    break
                await self._write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n")
                coming = asyncio.ensure_future(anext(events, END))
            await self._write("data: [DONE]\n\n")
        except (ConnectionError, TimeoutError):
            if not self._response.prepared:
                raise
            return self._given_up()
        except Exception as error:
            if not self._response.prepared:
                raise
            problem = described(self._request, error)
            self._request[BROKE] = problem
            await self._write(f"data: {json.dumps(problem.body())}\n\n")
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await coming
            await events.aclose()
        await self._response.write_eof()
        return self._response

    def _given_up(self) -> web.StreamResponse:
        self._request[BROKE] = Problem(
            499, "the caller takes nothing any more", SERVER, None, None, "CANCELLED"
        )
        if self._request.transport is not None:
            self._request.transport.abort()
        return self._response

    async def _write(self, text: str) -> None:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        async with asyncio.timeout(WRITE_S):
            await self._response.write(text.encode())


async def side_by_side(streams: Sequence[AsyncGenerator[Item]]) -> AsyncGenerator[tuple[int, Item]]:
    """The items of all streams as they come, each with its stream's number; the first error ends all. A stream waits while
    what it gave is not taken."""
    queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(maxsize=len(streams))

    async def pump(number: int, stream: AsyncGenerator[Item]) -> None:
        try:
            async with aclosing(stream):
                async for item in stream:
                    await queue.put((number, item))
        except Exception as error:
            await queue.put((-1, error))
        await queue.put((number, END))

    tasks = [asyncio.create_task(pump(number, stream)) for number, stream in enumerate(streams)]
    running = len(tasks)
    try:
        while running:
            number, item = await queue.get()
            if number < 0:
                raise item
            if item is END:
                running -= 1
            else:
                yield number, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
