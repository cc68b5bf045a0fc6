"""Client-streaming calls for asyncio, on a blocking channel.

grpc.aio loses the status of such a call when the server ends it while a message is being written: the caller gets
INTERNAL "Internal error from Core" instead of which row is wrong. The blocking API gets it right, so the messages are
drawn in its own thread. With a retry policy gRPC even aborts the process there ("ILLEGAL STATE: FORWARDED_BATCH" in
promise_based_filter.cc; seen in 1.85.1), so a channel given to this must have none for client-streaming methods.
"""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from typing import Any

import grpc


async def stream_unary(
    channel: grpc.Channel,
    path: str,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    request_serializer: Callable[[Any], bytes] | None = None,
    response_deserializer: Callable[[bytes], Any] | None = None,
    timeout: float | None = None,
    metadata: Sequence[tuple[str, str]] = (),
) -> Any:
    """The response. Raises grpc.RpcError with the server's status, or what drawing `requests` raised. Plain iterables
    are drawn in a thread, asynchronous ones in this loop; cancelling this cancels the call."""
    loop = asyncio.get_running_loop()
    source = _Source(requests, loop)
    method = channel.stream_unary(path, request_serializer, response_deserializer)
    call = method.future(source.messages(), timeout=timeout, metadata=metadata)
    ended = asyncio.Event()
    call.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
    try:
        await ended.wait()
    finally:
        call.cancel()
        source.stop()
    if source.error is not None:
        raise source.error
    return call.result()


class _Source:
    """Draws messages for gRPC's thread and remembers why that failed; gRPC itself would only say UNKNOWN."""

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.error: Exception | None = None
        self._requests = requests
        self._loop = loop
        self._pending: concurrent.futures.Future[Any] | None = None

    def messages(self) -> Iterator[Any]:
        try:
            if isinstance(self._requests, AsyncIterable):
                yield from self._from_loop(self._requests)
            else:
                yield from self._requests
        except concurrent.futures.CancelledError:
            return
        except Exception as error:
            self.error = error
            raise

    def stop(self) -> None:
        if self._pending is not None:
            self._pending.cancel()

    def _from_loop(self, requests: AsyncIterable[Any]) -> Iterator[Any]:
        iterator, end = requests.__aiter__(), object()
        while True:
            self._pending = asyncio.run_coroutine_threadsafe(_next(iterator, end), self._loop)
            message = self._pending.result()
            if message is end:
                return
            yield message


async def _next(iterator: Any, end: object) -> Any:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return end
