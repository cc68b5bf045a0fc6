"""`python vllm_standin.py FOLDER`: on the Ray of RAY_ADDRESS, vLLM's application with its ingress and its router, and other replicas in it.

They have the methods of `vllm_engine.app.Replica` and no vLLM. A score is who answers; what is asked is what happens, and leaves a file.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig

from services.inference.app import digest
from services.inference.serveproxy import REPLICAS
from services.inference.settings import InferenceSettings
from services.inference.vllm_engine.ingress import behind_ingress
from services.inference.vllm_engine.routing import router_arguments
from services.inference.wire import Facts, Piece, Refused

APPLICATION = "stand-in"
# The class that ray.serve.llm.request_router publishes; that module cannot be imported without vLLM.
ROUTER = "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router.PrefixCacheAffinityRouter"
SETTINGS = InferenceSettings(engine="vllm", vllm_model="file:///nowhere", replicas=2, replica_load=1)


class Replica:
    """Takes two calls at once."""

    def __init__(self, folder: str) -> None:
        self._folder, self._me = Path(folder), str(os.getpid())

    async def ask(self, routed: Any) -> Any:
        if routed.method != "score":
            return self._me
        ((prompt, _),) = routed.call.items
        with self._noted(prompt):
            if prompt == "wait":
                await asyncio.Event().wait()
            if prompt == "fail":
                raise ValueError("a bug")
            if prompt == "die":
                os._exit(1)
        refusal = Refused("PROMPT_TOO_LONG", "too long", "items[0]", {"token_count": "600"}, "Invalid")
        return refusal if prompt == "refuse" else self._me

    async def pieces(self, routed: Any) -> AsyncIterator[Any]:
        yield Piece(self._me)
        with self._noted("stream"):
            while routed.call.max_tokens > 1:
                await asyncio.sleep(0.01)
                yield Piece("more")
        yield Piece("", True)

    @contextmanager
    def _noted(self, what: str) -> Any:
        name = f"{what}-{uuid.uuid4().hex}"
        (self._folder / f"began-{name}").touch()
        try:
            yield
        finally:
            (self._folder / f"ended-{name}").touch()

    async def facts(self) -> Facts:
        return Facts("some GPU", "bfloat16", {"vllm": "0.29.0"})

    async def digest(self) -> str:
        return digest(SETTINGS)


if __name__ == "__main__":
    ray.init(address="auto", namespace="ingrain", log_to_driver=False, configure_logging=False)
    router = RequestRouterConfig(
        request_router_class=ROUTER,  # type: ignore[arg-type]
        request_router_kwargs=router_arguments(SETTINGS),
    )
    replicas = serve.deployment(
        Replica,
        name=REPLICAS,
        num_replicas=2,
        max_ongoing_requests=2,
        max_queued_requests=1,
        request_router_config=router,
        ray_actor_options={"num_cpus": 0.1},
    ).bind(sys.argv[1])
    serve.run(behind_ingress(replicas, SETTINGS), name=APPLICATION, route_prefix=f"/{APPLICATION}")
    ray.shutdown()
