"""The Ray Serve application: replicas of the engine."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.serve import Application

from services.inference.serveproxy import APPLICATION, REPLICAS, packed, unpacked
from services.inference.settings import InferenceSettings
from services.inference.wire import METHODS, Facts

NAME = APPLICATION
HOMES = 256  # contexts and models of one replica that Serve is told of


@serve.deployment(name=REPLICAS)
class EngineReplica:
    """Imports torch and transformers where it runs, not where it is deployed from.

    Where there are several replicas, calls come with what they read as Serve's `multiplexed_model_id`, so that they are led to a replica
    that has it. Any other answers as well.
    """

    def __init__(self, settings: InferenceSettings) -> None:
        from services.inference.engine.replica import Engine

        self._engine = Engine(settings)
        self._digest = digest(settings)

    @serve.multiplexed(max_num_models_per_replica=HOMES)
    async def _at_home(self, key: str) -> str:
        return key

    async def _note_home(self) -> None:
        if key := serve.get_multiplexed_model_id():
            await self._at_home(key)

    async def score(self, call: Any) -> Any:
        await self._note_home()
        return await self._engine.score(call)

    async def generate(self, call: Any) -> Any:
        await self._note_home()
        return await self._engine.generate(call)

    async def count(self, call: Any) -> Any:
        return await self._engine.count(call)

    async def prefill(self, call: Any) -> Any:
        await self._note_home()
        return await self._engine.prefill(call)

    async def forget(self, call: Any) -> None:
        await self._engine.forget(call)

    async def stream(self, call: Any) -> AsyncIterator[Any]:
        await self._note_home()
        async with aclosing(self._engine.stream(call)) as pieces:
            async for piece in pieces:
                yield piece

    async def facts(self) -> Facts:
        facts = await self._engine.facts()
        return replace(facts, versions={**facts.versions, "ray": ray.__version__})

    async def digest(self) -> str:
        return self._digest

    async def Call(self, request: Any) -> Any:
        """By Serve's proxy: the name of a method above, and what it is called with."""
        method, argument = unpacked(request)
        return packed(await getattr(self, method)(*(() if argument is None else (argument,))))

    async def Stream(self, request: Any) -> AsyncIterator[Any]:
        async with aclosing(self.stream(unpacked(request))) as pieces:
            async for piece in pieces:
                yield packed(piece)


def digest(settings: InferenceSettings) -> str:
    """Of what replicas are built from: a door that comes back finds out whether those that run are its own. Before the colon their release."""
    mine = settings.model_dump_json(exclude={"host", "port", "gateway", "database_url", "log_level"})
    return f"{METHODS}:{hashlib.sha256(mine.encode()).hexdigest()}"


def build(settings: InferenceSettings) -> Application:
    if settings.engine == "vllm":
        from services.inference.vllm_engine import app

        return app.build(settings, digest(settings))
    resources = {"num_cpus": settings.replica_cpus, "num_gpus": settings.replica_gpus}
    return EngineReplica.options(**serving(settings), ray_actor_options=resources).bind(settings)


def serving(settings: InferenceSettings) -> dict[str, Any]:
    """Of either engine's deployment: how many replicas there are, how much they take on, how they end."""
    most = max(settings.replicas, settings.replicas_most)
    scaling = {
        "min_replicas": settings.replicas,
        "max_replicas": most,
        "target_ongoing_requests": settings.replica_load,
    }
    number = {"autoscaling_config": scaling} if most > settings.replicas else {"num_replicas": most}
    return number | {
        "graceful_shutdown_timeout_s": settings.replica_drain_s,
        "max_ongoing_requests": settings.max_queued,
        "max_queued_requests": settings.max_queued,
    }
