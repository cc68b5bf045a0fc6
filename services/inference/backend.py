"""How the door reaches engines. Ray is imported only where it is used."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import structlog

from servicekit.errors import Exhausted, Unavailable
from services.inference.settings import InferenceSettings

log = structlog.get_logger()


class Backend(Protocol):
    """`call` asks one method of an engine with a value of `wire`; `stream` yields pieces."""

    async def start(self) -> None: ...

    async def ready(self) -> bool: ...

    async def call(self, method: str, argument: Any) -> Any: ...

    def stream(self, argument: Any) -> AsyncIterator[Any]: ...


class InProcess:
    """The engine in this process: tests, and machines without Ray."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._engine: Any = None

    async def start(self) -> None:
        from services.inference.engine import Engine

        self._engine = Engine(self._settings)

    async def ready(self) -> bool:
        return self._engine is not None

    async def call(self, method: str, argument: Any) -> Any:
        return await getattr(self._engine, method)(argument)

    async def stream(self, argument: Any) -> AsyncIterator[Any]:
        async for piece in self._engine.stream(argument):
            yield piece


class RayServe:
    """Engines as replicas of a Ray Serve application, asked through its handle."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._handle: Any = None
        self._problem = "the engine is starting"

    async def start(self) -> None:
        """Until the application runs. It stays when this process ends, and is found again."""
        while self._handle is None:
            try:
                self._handle = await asyncio.to_thread(self._deploy)
                log.info("engine_ready")
            except Exception as error:
                self._problem = f"the engine cannot start: {error}"
                log.warning("engine_not_ready", exc_info=error)
                await asyncio.sleep(2)

    def _deploy(self) -> Any:
        import ray
        from ray import serve

        from services.inference import app

        if not ray.is_initialized():
            ray.init(address="auto", namespace="ingrain", log_to_driver=False, configure_logging=False)
        needed = self._settings.replica_cpus * self._settings.replicas
        if ray.cluster_resources().get("CPU", 0) < needed:
            raise RuntimeError(
                f"Ray has {ray.cluster_resources().get('CPU', 0):g} CPUs and {needed:g} are needed"
            )
        serve.start(http_options={"location": "NoServer"})
        serve.run(app.build(self._settings), name=app.NAME, route_prefix=None, blocking=False)
        return serve.get_app_handle(app.NAME)

    async def ready(self) -> bool:
        return self._handle is not None

    async def call(self, method: str, argument: Any) -> Any:
        handle = self._ready_handle()
        try:
            return await getattr(handle, method).remote(argument)
        except Exception as error:
            raise translated(error) from error

    async def stream(self, argument: Any) -> AsyncIterator[Any]:
        pieces = self._ready_handle().options(stream=True).stream.remote(argument)
        try:
            async for piece in pieces:
                yield piece
        except Exception as error:
            raise translated(error) from error

    def _ready_handle(self) -> Any:
        if self._handle is None:
            raise Unavailable("ENGINE_STARTING", f"{self._problem}; try again", 2.0)
        return self._handle


def translated(error: Exception) -> Exception:
    """Ray's own troubles as ours; what the engine's code raised stays what it is."""
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

    if isinstance(error, BackPressureError):
        return Exhausted("ENGINE_BUSY", "too many requests are waiting; try again", 1.0)
    if isinstance(error, RayActorError | DeploymentUnavailableError):
        return Unavailable("ENGINE_RESTARTING", "the engine is being replaced; try again", 2.0)
    return error


def make_backend(settings: InferenceSettings) -> Backend:
    return InProcess(settings) if settings.inference_backend == "inprocess" else RayServe(settings)
