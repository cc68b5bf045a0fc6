"""Client: the same as AsyncClient for plain code.

The asynchronous core runs in one background thread with its own event loop, so that this also works where a loop is
running already (Jupyter). Every method, iterator and operation of AsyncClient is there under the same name; nothing
is written twice.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

from ingrain.channel import Metadata
from ingrain.client import AsyncClient, Stubs
from ingrain.errors import Detached
from ingrain.operation import AsyncOperation, AsyncOperations
from ingrain.resource import Resource
from ingrain.tls import TLS

_CANCEL_S = 5.0  # how long a cancelled call may take to end


class _Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ingrain", daemon=True)
        self._thread.start()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Its result. Ctrl-C in the caller's thread cancels it, and returns when it has ended."""
        call = _Call(awaitable)
        try:
            self._loop.call_soon_threadsafe(call.begin)
            return call.result.result()
        except BaseException:
            # In the loop this comes after `begin`, wherever a signal's exception was raised.
            self._loop.call_soon_threadsafe(call.cancel)
            call.ended.wait(_CANCEL_S)
            raise

    def iterate(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        end = object()
        try:
            while (item := self.run(_next(source, end))) is not end:
                yield item
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                self.run(close())
            elif hasattr(source, "cancel"):
                self._loop.call_soon_threadsafe(source.cancel)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class _Call:
    """One awaitable on its way through the loop. All but `result` and `ended` belong to the loop's thread."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.result: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.ended = threading.Event()
        self._awaitable = awaitable
        self._task: asyncio.Future[Any] | None = None

    def begin(self) -> None:
        self._task = asyncio.ensure_future(self._awaitable)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._task is None:
            self.ended.set()
        else:
            self._task.cancel()

    def _end(self, task: "asyncio.Future[Any]") -> None:
        self.ended.set()
        if task.cancelled():
            self.result.cancel()
        elif (error := task.exception()) is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())


class _Sync:
    """An object of the asynchronous core, seen from plain code."""

    def __init__(self, core: Any, loop: _Loop) -> None:
        self._core = core
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._core, name)
        if not callable(value) or isinstance(value, type):
            return self._plain(value)

        @functools.wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            # A handle that was handed out comes back, e.g. to `operations.wait(operation)`.
            args = tuple(arg._core if isinstance(arg, _Sync) else arg for arg in args)
            with _detaching(self._waited_for(name, args)):
                result = self._loop.run(_invoke(value, args, kwargs))
            return self._plain(result)

        return call

    def _plain(self, value: Any) -> Any:
        if isinstance(value, AsyncOperation):
            return Operation(value, self._loop)
        if isinstance(value, (Resource, Stubs)) or type(value).__module__.endswith("_pb2_grpc"):
            return _Sync(value, self._loop)
        if hasattr(value, "__anext__"):
            return self._iterate(value)
        return value

    def _iterate(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        with _detaching(self._core.name if isinstance(self._core, AsyncOperation) else ""):
            for item in self._loop.iterate(source):
                yield self._plain(item)

    def _waited_for(self, method: str, args: tuple[Any, ...]) -> str:
        if isinstance(self._core, AsyncOperation) and method == "result":
            return self._core.name
        if isinstance(self._core, AsyncOperations) and method == "wait" and args:
            return args[0] if isinstance(args[0], str) else args[0].name
        return ""

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._core)})

    def __repr__(self) -> str:
        return repr(self._core)


@contextlib.contextmanager
def _detaching(operation: str) -> Iterator[None]:
    """Turns Ctrl-C while waiting for `operation` into Detached, which says how to wait again."""
    try:
        yield
    except KeyboardInterrupt:
        if operation:
            raise Detached(operation) from None
        raise


class Operation(_Sync):
    """AsyncOperation for plain code: name, metadata, done, refresh(), result(), progress(), cancel()."""


class Client(_Sync):
    """AsyncClient for plain code; see there for the arguments."""

    def __init__(
        self,
        target: str | None = None,
        *,
        project: str | None = None,
        api_key: str | None = None,
        metadata: Metadata = (),
        timeout_s: float | None = 60,
        tls: TLS | bool | str | Path | None = None,
    ) -> None:
        core = AsyncClient(
            target, project=project, api_key=api_key, metadata=metadata, timeout_s=timeout_s, tls=tls
        )
        super().__init__(core, _Loop())

    def close(self) -> None:
        self._loop.run(self._core.close())
        self._loop.stop()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _invoke(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls in the loop's thread, because streams belong to the loop in which they begin."""
    value = method(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


async def _next(source: AsyncIterator[Any], end: object) -> Any:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return end
