"""How a door on the Ray cluster reaches vLLM's replicas."""

from typing import Any

from services.inference.rayserve import RayServe, patiently
from services.inference.serveproxy import APPLICATION, REPLICAS
from services.inference.vllm_engine.routing import sent, sent_for_pieces


class VllmServe(RayServe):
    """The same application at the same place, with other replicas in it, which are asked past the ingress."""

    name = "ray serve llm + vllm"

    async def _found_or_deployed(self) -> Any:
        await super()._found_or_deployed()
        return await patiently(self._get_replicas)

    def _get_replicas(self) -> Any:
        from ray import serve

        return serve.get_deployment_handle(REPLICAS, app_name=APPLICATION)

    def _sent(self, method: str, argument: Any) -> Any:
        return sent(self._engines(), method, argument)

    def _sent_for_pieces(self, argument: Any) -> Any:
        return sent_for_pieces(self._engines(), argument)
