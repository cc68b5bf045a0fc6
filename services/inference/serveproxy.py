"""Engines asked through Serve's own gRPC proxy: the door then needs no Ray, and the engines are deployed by somebody else (a RayService).

The proxy has neither TLS nor credentials, so it is reached from inside of a cluster only. What travels is what travels through a handle: pickled
values of `wire`, between processes of one installation that trust each other.
"""

import asyncio
import pickle
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import structlog
from google.protobuf.wrappers_pb2 import BytesValue

from servicekit.errors import Exhausted, Unavailable
from services.inference.settings import InferenceSettings
from services.inference.wire import METHODS, Refused, Running, home_of, raise_refused

APPLICATION = "ingrain-inference"
REPLICAS = "engine"  # the deployment of engines in it; what else is there leads to them
SERVICE = "ingrain.internal.Engine"
LARGEST_BYTES = 256 << 20  # of a context's text, and of what is answered
LOOK_S = 20.0
REMEDY = "deploy both from images of one version (docs/kubernetes.md)"

log = structlog.get_logger()


def add_engine_servicer_to_server(servicer: Any, server: Any) -> None:
    """Named in Serve's `grpc_servicer_functions`: by it the proxy knows the two methods that `app.EngineReplica` has."""
    reading, writing = BytesValue.FromString, BytesValue.SerializeToString
    handlers = {
        "Call": grpc.unary_unary_rpc_method_handler(servicer.Call, reading, writing),
        "Stream": grpc.unary_stream_rpc_method_handler(servicer.Stream, reading, writing),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class ServeProxy:
    """`forget` reaches one replica; the others let go by themselves what is not used.

    Engines of another release are not asked: they may not know what is said to them, nor say what is understood here.
    """

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._channel: Any = None
        self._ready = False
        self._strange = ""  # the release of engines that are of another one
        self.name = "ray serve llm + vllm" if settings.engine == "vllm" else "ray serve + transformers"

    async def run(self) -> None:
        """Looks whether the engines answer, until cancelled."""
        limits = [(f"grpc.max_{way}_message_length", LARGEST_BYTES) for way in ("send", "receive")]
        async with grpc.aio.insecure_channel(self._settings.serve_proxy, options=limits) as channel:
            self._channel = channel
            while True:
                self._ready = await self._look()
                await asyncio.sleep(self._settings.ray_watch_s if self._ready else 0.5)

    async def _look(self) -> bool:
        """Whether engines of this release answer."""
        try:
            told = await asyncio.wait_for(self._asked("digest", None), LOOK_S)
        except Exception as error:
            # Whatever happens to a replica is no end of this process.
            if not isinstance(error, Exhausted | TimeoutError):
                log.warning("engine_look_failed", problem=repr(error)[:500])
            # One that has too much to do is there.
            return isinstance(error, Exhausted) and not isinstance(error, Unavailable) and not self._strange
        strange = "" if release_of(told) == str(METHODS) else release_of(told)
        if strange and strange != self._strange:
            log.error("engines_of_another_release", engines=strange, door=METHODS, remedy=REMEDY)
        self._strange = strange
        return not strange

    async def ready(self) -> bool:
        return self._ready

    async def call(self, method: str, argument: Any) -> Any:
        self._require_release()
        return await self._asked(method, argument)

    async def _asked(self, method: str, argument: Any) -> Any:
        asked = self._stub("unary_unary", "Call")(packed((method, argument)), metadata=self._way(argument))
        try:
            answer = unpacked(await asked)
        except grpc.aio.AioRpcError as error:
            raise translated(error) from error
        if isinstance(answer, Refused):
            raise_refused(answer)
        return answer

    async def stream(self, argument: Any) -> AsyncGenerator[Any, None]:
        self._require_release()
        pieces = self._stub("unary_stream", "Stream")(packed(argument), metadata=self._way(argument))
        try:
            async for piece in pieces:
                yield unpacked(piece)
        except grpc.aio.AioRpcError as error:
            raise translated(error) from error
        finally:
            pieces.cancel()

    async def running(self) -> Running:
        return Running(self.name, self._settings.replicas, await self.call("facts", None))

    def _require_release(self) -> None:
        if self._strange:
            raise Unavailable(
                "ENGINES_OF_ANOTHER_RELEASE",
                f"the engines are of release {self._strange} and this door of {METHODS}: {REMEDY}",
                2.0,
                engines=self._strange,
                door=METHODS,
            )

    def _stub(self, kind: str, method: str) -> Any:
        if self._channel is None:
            raise Unavailable("ENGINE_STARTING", "the engine is starting; try again", 2.0)
        return getattr(self._channel, kind)(
            f"/{SERVICE}/{method}", BytesValue.SerializeToString, BytesValue.FromString
        )

    def _way(self, argument: Any) -> tuple[tuple[str, str], ...]:
        """Which application, and which replica has what is read, where there are several to choose from. vLLM's are chosen by its ingress."""
        most = max(self._settings.replicas, self._settings.replicas_most)
        several = most > 1 and self._settings.engine != "vllm"
        home = home_of(argument) if several else ""
        return (("application", APPLICATION), *((("multiplexed_model_id", home),) if home else ()))


def release_of(digest: str) -> str:
    """Of engines, by what `app.digest` made of them."""
    release, colon, _ = digest.partition(":")
    return release if colon else "5 or older"


def packed(value: Any) -> BytesValue:
    return BytesValue(value=pickle.dumps(value))


def unpacked(message: BytesValue) -> Any:
    return pickle.loads(message.value)


def translated(error: grpc.aio.AioRpcError) -> Exception:
    """The proxy's own troubles as ours; refusals of the engine come as values."""
    code = error.code()
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Exhausted("ENGINE_BUSY", "too many requests are waiting; try again", 1.0)
    away = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.NOT_FOUND,  # the application is not there, or not yet
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    # Of a replica that died under a call Serve tells no code of its own, only Ray's words.
    said = error.details() or ""
    died = code == grpc.StatusCode.INTERNAL and "actor" in said and ("died" in said or "unavailable" in said)
    if died or code in away:
        return Unavailable("ENGINE_LOST", "the engine does not answer; try again", 2.0)
    return error
