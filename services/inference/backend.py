"""How the door reaches engines. torch and Ray are imported only where they are used."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from services.inference.settings import InferenceSettings
from services.inference.wire import Running


class Backend(Protocol):
    """`call` asks one method of an engine with a value of `wire`; `stream` yields pieces. Both stop when cancelled.
    `running` asks an engine for its facts and counts its like.

    `run` brings the engine up and keeps it so until cancelled; before it is up calls are Unavailable.
    """

    async def run(self) -> None: ...

    async def ready(self) -> bool: ...

    async def call(self, method: str, argument: Any) -> Any: ...

    def stream(self, argument: Any) -> AsyncGenerator[Any, None]: ...

    async def running(self) -> Running: ...


class InProcess:
    """The engine in this process: tests, and machines without Ray."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._engine: Any = None
        self._up = asyncio.Event()

    async def run(self) -> None:
        self._engine = await asyncio.to_thread(self._make)
        self._up.set()
        await asyncio.Event().wait()

    def _make(self) -> Any:
        from services.inference.engine.replica import Engine

        return Engine(self._settings)

    async def ready(self) -> bool:
        return self._up.is_set()

    async def call(self, method: str, argument: Any) -> Any:
        await self._up.wait()
        return await getattr(self._engine, method)(argument)

    async def stream(self, argument: Any) -> AsyncGenerator[Any, None]:
        await self._up.wait()
        async with aclosing(self._engine.stream(argument)) as pieces:
            async for piece in pieces:
                yield piece

    async def running(self) -> Running:
        await self._up.wait()
        return Running("in process + transformers", 1, await self._engine.facts())


def make_backend(settings: InferenceSettings) -> Backend:
    if settings.inference_backend == "proxy":
        from services.inference.serveproxy import ServeProxy

        return ServeProxy(settings)
    if settings.engine == "vllm":
        from services.inference.vllm_engine.backend import VllmServe

        return VllmServe(settings)
    if settings.inference_backend == "inprocess":
        return InProcess(settings)
    from services.inference.rayserve import RayServe

    return RayServe(settings)
