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
from services.inference.wire import Running, home_of

APPLICATION = "ingrain-inference"
SERVICE = "ingrain.internal.Engine"
LARGEST_BYTES = 256 << 20  # of a context's text, and of what is answered
LOOK_S = 20.0

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
    """`forget` reaches one replica; the others let go by themselves what is not used."""

    name = "ray serve + transformers"

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._channel: Any = None
        self._ready = False

    async def run(self) -> None:
        """Looks whether the engines answer, until cancelled."""
        limits = [(f"grpc.max_{way}_message_length", LARGEST_BYTES) for way in ("send", "receive")]
        async with grpc.aio.insecure_channel(self._settings.serve_proxy, options=limits) as channel:
            self._channel = channel
            while True:
                try:
                    await asyncio.wait_for(self.call("digest", None), LOOK_S)
                    self._ready = True
                except Exception as error:
                    # One that has too much to do is there. Whatever else happens to a replica is no end of this process.
                    self._ready = isinstance(error, Exhausted) and not isinstance(error, Unavailable)
                    if not isinstance(error, Exhausted | Unavailable | TimeoutError):
                        log.warning("engine_look_failed", problem=repr(error)[:500])
                await asyncio.sleep(self._settings.ray_watch_s if self._ready else 0.5)

    async def ready(self) -> bool:
        return self._ready

    async def call(self, method: str, argument: Any) -> Any:
        asked = self._stub("unary_unary", "Call")(packed((method, argument)), metadata=self._way(argument))
        try:
            return unpacked(await asked)
        except grpc.aio.AioRpcError as error:
            raise translated(error) from error

    async def stream(self, argument: Any) -> AsyncGenerator[Any, None]:
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

    def _stub(self, kind: str, method: str) -> Any:
        if self._channel is None:
            raise Unavailable("ENGINE_STARTING", "the engine is starting; try again", 2.0)
        return getattr(self._channel, kind)(
            f"/{SERVICE}/{method}", BytesValue.SerializeToString, BytesValue.FromString
        )

    def _way(self, argument: Any) -> tuple[tuple[str, str], ...]:
        """Which application, and which replica has what is read, where there are several to choose from."""
        several = max(self._settings.replicas, self._settings.replicas_most) > 1
        home = home_of(argument) if several else ""
        return (("application", APPLICATION), *((("multiplexed_model_id", home),) if home else ()))


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
