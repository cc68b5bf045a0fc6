"""Engines as replicas of a Ray Serve application, asked through its handle. Ray is imported in the methods."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import structlog

from servicekit.errors import Exhausted, Unavailable
from services.inference.serveproxy import REPLICAS
from services.inference.settings import InferenceSettings
from services.inference.wire import Running, home_of

POLL_S = 0.5
START_S = 120.0  # for a part of Ray to start; a busy machine takes long
LOOK_S = 20.0  # for an answer of what runs; a cluster that went away never answers
T = TypeVar("T")
# Ray reads these when it is imported: calls go to replicas by gRPC instead of through objects, and are led there by the loop that
# makes them instead of a thread. Together that halves what a call takes on its way. What is left of a router whose cluster went away
# must not connect this loop to another.
DIRECT = {
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
ABSENT = {"", "NOT_STARTED", "DEPLOY_FAILED", "DELETING"}  # others Serve brings to run by itself
log = structlog.get_logger()


class RayServe:
    """The application stays when this process ends, and is found again. One that went away is deployed again."""

    name = "ray serve + transformers"

    def __init__(self, settings: InferenceSettings) -> None:
        for name, value in DIRECT.items():
            os.environ.setdefault(name, value)
        self._settings = settings
        self._handle: Any = None
        self._problem = "the engine is starting"

    async def run(self) -> None:
        while True:
            try:
                if self._handle is None:
                    self._handle = await self._found_or_deployed()
                    log.info("engine_ready")
                elif problem := await patiently(self._not_running, LOOK_S):
                    self._lost(problem)
                    continue
            except Exception as error:
                self._lost(f"{type(error).__name__}: {error}")
                await patiently(_disconnect)
            await asyncio.sleep(self._settings.ray_watch_s)

    async def ready(self) -> bool:
        return self._handle is not None

    async def call(self, method: str, argument: Any) -> Any:
        if method == "forget":
            return await self._told_to_all(method, argument)
        return await answered(self._sent(method, argument))

    async def _told_to_all(self, method: str, argument: Any) -> None:
        """A replica that goes away meanwhile needs not be told."""
        answers = self._engines().broadcast(method, argument)
        await answers.results_async(timeout_s=LOOK_S, return_exceptions=True)

    async def stream(self, argument: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(pieces_of(self._sent_for_pieces(argument))) as pieces:
            async for piece in pieces:
                yield piece

    async def running(self) -> Running:
        engines = self._engines()
        try:
            facts = await engines.facts.remote()
            count = await patiently(self._replica_count, LOOK_S)
            return Running(self.name, count, facts)
        except Exception as error:
            raise translated(error) from error

    def _sent(self, method: str, argument: Any) -> Any:
        return getattr(self._engines(argument), method).remote(argument)

    def _sent_for_pieces(self, argument: Any) -> Any:
        return self._engines(argument).options(stream=True).stream.remote(argument)

    def _engines(self, argument: Any = None) -> Any:
        """The replicas; a call goes to one that has what it reads, where there are several to choose from."""
        if self._handle is None:
            raise Unavailable("ENGINE_STARTING", f"{self._problem}; try again", 2.0)
        several = max(self._settings.replicas, self._settings.replicas_most) > 1
        home = home_of(argument) if several else ""
        return self._handle.options(multiplexed_model_id=home) if home else self._handle

    def _lost(self, problem: str) -> None:
        self._handle = None
        self._problem = f"the engine is starting ({problem})"
        log.warning("engine_not_ready", problem=problem)

    async def _found_or_deployed(self) -> Any:
        """The handle of the application as these settings want it, found running or deployed."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        status, _ = await patiently(self._connected_status)
        for number, handler in handlers.items():
            # Ray's core takes the signals and would end this process before its calls are answered.
            signal.signal(number, handler)
        if status in ABSENT:
            await patiently(self._deploy)
        await self._until_running()
        handle = await patiently(self._get_handle)
        if not await self._is_mine(handle):
            await patiently(self._deploy)
            await self._until_running()
            handle = await patiently(self._get_handle)
        return handle

    def _connected_status(self) -> tuple[str, str]:
        import ray
        from ray import serve

        if not ray.is_initialized():
            ray.init(address="auto", namespace="ingrain", log_to_driver=False, configure_logging=False)
        # Of a cluster that went away Serve keeps its controller, until it is asked to start.
        serve.start(http_options={"location": "NoServer"})
        return self._status()

    def _deploy(self) -> None:
        from ray import serve

        from services.inference import app

        target = serve.RunTarget(target=app.build(self._settings), name=app.NAME, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)

    async def _until_running(self) -> None:
        deadline = time.monotonic() + self._settings.ray_wait_s
        while problem := await patiently(self._not_running):
            self._problem = f"the engine is starting ({problem})"
            if time.monotonic() > deadline:
                raise TimeoutError(f"not running after {self._settings.ray_wait_s:g} s: {problem}")
            await asyncio.sleep(POLL_S)

    def _not_running(self) -> str:
        """Empty where the application runs, else how it stands."""
        status, said = self._status()
        return "" if status == "RUNNING" else f"{status or 'not deployed'} {said}".strip()

    def _status(self) -> tuple[str, str]:
        """The application's status (empty: there is none), and what Serve says of it."""
        from ray import serve

        from services.inference import app

        found = serve.status().applications.get(app.NAME)
        if found is None:
            return "", ""
        said = [found.message, *(deployment.message for deployment in found.deployments.values())]
        return str(found.status.value), " ".join(part for part in said if part)

    def _replica_count(self) -> int:
        from ray import serve
        from ray.serve.schema import ReplicaState

        from services.inference import app

        found = serve.status().applications.get(app.NAME)
        if found is None or REPLICAS not in found.deployments:
            raise Unavailable("ENGINE_RESTARTING", "the engine is being replaced; try again", 2.0)
        return found.deployments[REPLICAS].replica_states.get(ReplicaState.RUNNING, 0)

    def _get_handle(self) -> Any:
        from ray import serve

        from services.inference import app

        return serve.get_app_handle(app.NAME)

    async def _is_mine(self, handle: Any) -> bool:
        """Whether what runs was built from these settings."""
        from services.inference import app

        answer = await asyncio.wait_for(handle.digest.remote(), LOOK_S)
        return bool(answer == app.digest(self._settings))


async def answered(response: Any) -> Any:
    """Of Serve's response to a call; whoever does not wait for it any longer ends the call."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except Exception as error:
        raise translated(error) from error


async def pieces_of(response: Any) -> AsyncGenerator[Any, None]:
    """Of Serve's response to a stream; closing it ends the stream."""
    ended = False
    try:
        async for piece in response:
            yield piece
        ended = True
    except Exception as error:
        ended = True
        raise translated(error) from error
    finally:
        if not ended:  # whoever asked went away
            response.cancel()


def _disconnect() -> None:
    """From a cluster that does not answer: the next try connects anew."""
    import ray

    ray.shutdown()


async def patiently(work: Callable[[], T], limit_s: float = START_S) -> T:
    """In a thread of its own, for `limit_s`: what Ray never answers must not hold up this process's end."""
    loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def tell(value: Any, error: BaseException | None) -> None:
        if answer.done():
            return
        answer.set_exception(error) if error else answer.set_result(value)

    def run() -> None:
        try:
            value, error = work(), None
        except Exception as raised:
            value, error = None, raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, value, error)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(limit_s):
        return await answer


def translated(error: Exception) -> Exception:
    """Ray's own troubles as ours; what the engine's code raised stays what it is."""
    import grpc
    from ray.exceptions import RayActorError, RaySystemError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

    if isinstance(error, BackPressureError):
        return Exhausted("ENGINE_BUSY", "too many requests are waiting; try again", 1.0)
    lost = RayActorError | RaySystemError | DeploymentUnavailableError | RayServeException | TimeoutError
    # A replica that ends takes its connection with it: calls that it had not finished come back as cancelled by the other side.
    broken = isinstance(error, grpc.aio.AioRpcError) and error.code() in (
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNAVAILABLE,
    )
    if broken or isinstance(error, lost):
        return Unavailable("ENGINE_RESTARTING", "the engine is being replaced; try again", 2.0)
    return error
