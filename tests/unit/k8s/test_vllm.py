"""The component vllm: what Serve makes of it by the variables of the manifest, without vLLM."""

import sys
from types import ModuleType
from typing import Any

import pytest
import yaml

from servicekit.errors import WrongState
from services.inference import vllm_engine
from services.inference.settings import InferenceSettings
from tools.k8s_check import rendering, vllm
from tools.k8s_check.objects import load_file, named
from tools.k8s_check.variables import environment

VLLM = rendering.Variant("gpu", ("vllm",))
MODEL = "s3://ingrain/projects/p/models/large/1"


@pytest.fixture(autouse=True)
def ray_serve_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    """ray.serve.llm without vLLM: its builder makes a deployment of the class, the options and the arguments that it is given."""
    from ray import serve

    def build_llm_deployment(
        config: Any,
        *,
        deployment_cls: type,
        bind_kwargs: dict[str, Any],
        override_serve_options: dict[str, Any],
    ) -> Any:
        deployment = serve.deployment(deployment_cls, **override_serve_options)
        return deployment.bind(llm_config=config, **bind_kwargs)

    llm, router = ModuleType("ray.serve.llm"), ModuleType("ray.serve.llm.request_router")
    llm.__dict__.update(
        LLMConfig=dict, LLMServer=type("LLMServer", (), {}), build_llm_deployment=build_llm_deployment
    )
    router.__dict__.update(PrefixCacheAffinityRouter=type("PrefixCacheAffinityRouter", (), {}))
    monkeypatch.setitem(sys.modules, "ray.serve.llm", llm)
    monkeypatch.setitem(sys.modules, "ray.serve.llm.request_router", router)
    # Another test may have imported it with a stand-in of its own; the package keeps it as well.
    monkeypatch.delitem(sys.modules, "services.inference.vllm_engine.app", raising=False)
    monkeypatch.delattr(vllm_engine, "app", raising=False)


def test_the_application_is_built_from_the_variables_of_the_component(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Serve builds it: by the import path, with no arguments, from the environment of Ray's nodes and the operator's model."""
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    objects = load_file(VLLM.golden)
    service = named(objects, "RayService")["engines"]
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    for name, value in environment(worker, objects)[0].items():
        monkeypatch.setenv(name, value)
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    build = import_attr(application["import_path"])
    # The model is the operator's to name.
    with pytest.raises(WrongState, match="INGRAIN_VLLM_MODEL"):
        call_user_app_builder_with_args_if_necessary(build, {})
    monkeypatch.setenv("INGRAIN_VLLM_MODEL", MODEL)
    ingress = call_user_app_builder_with_args_if_necessary(build, {})._bound_deployment
    (engines,) = (bound._bound_deployment for bound in ingress.init_args)

    assert (ingress.name, engines.name) == ("ingress", "engine")
    assert not ingress.ray_actor_options.get("num_gpus")
    options = engines._deployment_config
    assert options.autoscaling_config.min_replicas == group["minReplicas"]
    assert options.autoscaling_config.max_replicas == group["maxReplicas"]
    assert options.request_router_config.request_router_class.endswith("PrefixCacheAffinityRouter")
    config = engines.init_kwargs["llm_config"]
    assert config["engine_kwargs"]["tensor_parallel_size"] == worker["resources"]["limits"]["nvidia.com/gpu"]
    assert config["engine_kwargs"]["dtype"] == "bfloat16"


def test_door_and_engines_are_told_the_same() -> None:
    objects = load_file(VLLM.golden)
    (door,) = named(objects, "Deployment")["inference"]["spec"]["template"]["spec"]["containers"]
    plain, _ = environment(door, objects)
    fields = {name.removeprefix("INGRAIN_").lower(): value for name, value in plain.items()}
    settings = InferenceSettings(**{k: v for k, v in fields.items() if k in InferenceSettings.model_fields})  # type: ignore[arg-type]
    assert (settings.engine, settings.inference_backend) == ("vllm", "proxy")


def test_fewer_gpus_than_a_replica_takes_are_found() -> None:
    objects = load_file(VLLM.golden)
    named(objects, "ConfigMap")["ingrain-engines"]["data"]["INGRAIN_VLLM_TENSOR_PARALLEL"] = "2"
    (found,) = vllm.check(objects)
    assert found.rule == "vllm"
    assert "2 GPUs" in found.message


def test_only_the_engines_have_another_image() -> None:
    plain, other = (set(_images(load_file(v.golden))) for v in (rendering.Variant("gpu"), VLLM))
    assert other - plain == {"ingrain/ray-vllm:0.1.0-cuda"}
    assert "ray-vllm)" in (rendering.ROOT / "deploy" / "docker" / "install.sh").read_text()


def _images(value: Any) -> Any:
    if isinstance(value, list):
        for one in value:
            yield from _images(one)
    if isinstance(value, dict):
        yield from (one for key, one in value.items() if key == "image" and isinstance(one, str))
        for one in value.values():
            yield from _images(one)
