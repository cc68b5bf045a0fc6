"""What Serve's gRPC proxy asks where engines are vLLM's: without a GPU. The proxy hides from the router of the replicas what a call begins
with; from here the calls go on as they do from a door on the cluster."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve import Application

from servicekit.errors import DomainError
from services.inference.rayserve import answered, pieces_of
from services.inference.serveproxy import packed, unpacked
from services.inference.settings import InferenceSettings
from services.inference.vllm_engine.routing import sent, sent_for_pieces
from services.inference.wire import refused

CPUS = 0.5  # it waits for others most of the time


@serve.deployment(name="ingress")
class Ingress:
    """Refuses by values, as engines do: of what is raised here the proxy would leave nothing but words."""

    def __init__(self, engines: Any) -> None:
        self._engines = engines

    async def Call(self, request: Any) -> Any:
        method, argument = unpacked(request)
        try:
            return packed(await answered(sent(self._engines, method, argument)))
        except DomainError as error:
            return packed(refused(error))

    async def Stream(self, request: Any) -> AsyncIterator[Any]:
        try:
            async with aclosing(pieces_of(sent_for_pieces(self._engines, unpacked(request)))) as pieces:
                async for piece in pieces:
                    yield packed(piece)
        except DomainError as error:
            yield packed(refused(error))

    async def digest(self) -> str:
        """Of what the replicas were built from, for a door that looks whether they are its own."""
        return str(await answered(self._engines.digest.remote()))


def behind_ingress(engines: Application, settings: InferenceSettings) -> Application:
    """As many ingresses as there are replicas always: none of them keeps a node that came with the load."""
    most = max(settings.replicas, settings.replicas_most)
    return Ingress.options(
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_queued * most,
        max_queued_requests=settings.max_queued,
        graceful_shutdown_timeout_s=settings.replica_drain_s,
        ray_actor_options={"num_cpus": CPUS},
    ).bind(engines)
