"""The Ray Serve application of vLLM's replicas, by ray.serve.llm. Needs the GPU image: importing it needs vLLM."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.llm import LLMConfig, LLMServer, build_llm_deployment

from servicekit.errors import WrongState
from services.inference.app import serving
from services.inference.serveproxy import REPLICAS
from services.inference.settings import InferenceSettings
from services.inference.vllm_engine.ingress import behind_ingress
from services.inference.vllm_engine.models import base_folder
from services.inference.vllm_engine.replica import VllmEngine
from services.inference.vllm_engine.routing import ROUTER, Routed, router_arguments
from services.inference.wire import Facts

MOST_LOGPROBS = 64  # as the contract's top_logprobs; looks at choices are bounded by vLLM at 128
# Its first model runner gives requests that want the likeliest tokens those of others that look at given ones, where both are
# in one batch; the second keeps them apart, and refuses at the start what it cannot run.
VARIABLES = {"VLLM_USE_V2_MODEL_RUNNER": "1"}


class Replica(LLMServer):
    """vLLM as ray.serve.llm starts it, asked for tokens instead of OpenAI's messages."""

    # Serve awaits constructors of deployments.
    async def __init__(  # type: ignore[misc]
        self, llm_config: LLMConfig, *, settings: InferenceSettings, digest: str
    ) -> None:
        # Not by ray.serve.llm, which has S3 settings of its own and checks no digests.
        await super().__init__(config_of(settings, await base_folder(settings)))
        assert self.engine is not None
        # ray.serve.llm's own methods take and give OpenAI's messages, which know neither tokens as they are nor choices.
        llm = self.engine._engine_client  # type: ignore[attr-defined]
        self._asked = VllmEngine(settings, llm, place_of(settings))
        self._digest = digest

    async def ask(self, routed: Routed) -> Any:
        return await getattr(self._asked, routed.method)(routed.call)

    async def pieces(self, routed: Routed) -> AsyncIterator[Any]:
        async with aclosing(self._asked.stream(routed.call)) as pieces:
            async for piece in pieces:
                yield piece

    async def facts(self) -> Facts:
        return await self._asked.facts()

    async def digest(self) -> str:
        return self._digest


def build(settings: InferenceSettings, digest: str) -> Application:
    require_model(settings)
    router = RequestRouterConfig(
        request_router_class=ROUTER,  # type: ignore[arg-type]
        request_router_kwargs=router_arguments(settings),
    )
    replicas = build_llm_deployment(
        config_of(settings, None),
        deployment_cls=Replica,
        bind_kwargs={"settings": settings, "digest": digest},
        override_serve_options={**serving(settings), "name": REPLICAS, "request_router_config": router},
    )
    return behind_ingress(replicas, settings)


def config_of(settings: InferenceSettings, folder: Path | None) -> LLMConfig:
    """`folder`: of the base model on this machine; None where only resources are reckoned."""
    return LLMConfig(
        model_loading_config={"model_id": "ingrain", "model_source": str(folder) if folder else None},
        engine_kwargs=engine_arguments(settings),
        runtime_env={"env_vars": VARIABLES},
    )


def engine_arguments(settings: InferenceSettings) -> dict[str, Any]:
    return {
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_lora_rank": settings.vllm_lora_rank,
        "max_loras": settings.vllm_lora_count,
        "max_logprobs": MOST_LOGPROBS,
        "logprobs_mode": "raw_logprobs",
        "scheduling_policy": "priority",
        "max_num_seqs": settings.running_count,
        "tensor_parallel_size": settings.vllm_tensor_parallel,
        "dtype": settings.dtype,
    }


def require_model(settings: InferenceSettings) -> None:
    if not settings.vllm_model.startswith(("s3://", "file://")):
        raise WrongState(
            "NO_VLLM_MODEL",
            f"INGRAIN_VLLM_MODEL is {settings.vllm_model!r}; it names a base model's files: s3://... or file:///...",
        )


def place_of(settings: InferenceSettings) -> tuple[str, str, dict[str, str]]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = {name: version(name) for name in ("vllm", "torch", "ray")}
    return device, settings.dtype, versions
