"""Our calls against what vLLM 0.29.0 and ray.serve.llm 2.60 publish: nothing is named that is not there."""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ray.serve.config import AutoscalingConfig

from services.inference.settings import InferenceSettings
from services.inference.vllm_engine.backend import Routed, affinity_of
from services.inference.wire import ContextRef, CountCall, GenerateCall, PrefillCall, ScoreCall

SETTINGS = InferenceSettings(engine="vllm", vllm_model="s3://bucket/base")


def source(name: str) -> ast.Module:
    """Of an installed module that cannot be imported without vLLM."""
    root = importlib.util.find_spec("ray")
    assert root is not None
    assert root.origin is not None
    path = Path(root.origin).parent.joinpath(*name.split(".")[1:])
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def found(module: str, kind: type, name: str) -> Any:
    return next(node for node in ast.walk(source(module)) if isinstance(node, kind) and node.name == name)


def parameters(function: Any) -> set[str]:
    return {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}


def fields(module: str, name: str) -> set[str]:
    body = found(module, ast.ClassDef, name).body
    return {node.target.id for node in body if isinstance(node, ast.AnnAssign)}


INTERNAL = "ray.llm._internal.serve"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our application's module, over a ray.serve.llm that says what it was given."""
    llm, router = ModuleType("ray.serve.llm"), ModuleType("ray.serve.llm.request_router")

    def build_llm_deployment(config: Any, **options: Any) -> Any:
        return SimpleNamespace(config=config, **options)

    llm.__dict__.update(
        LLMConfig=lambda **given: SimpleNamespace(**given),
        LLMServer=type("LLMServer", (), {}),
        build_llm_deployment=build_llm_deployment,
    )
    router.__dict__.update(PrefixCacheAffinityRouter=type("PrefixCacheAffinityRouter", (), {}))
    monkeypatch.setitem(sys.modules, "ray.serve.llm", llm)
    monkeypatch.setitem(sys.modules, "ray.serve.llm.request_router", router)
    monkeypatch.delitem(sys.modules, "services.inference.vllm_engine.app", raising=False)
    from services.inference.vllm_engine import app

    yield app
    sys.modules.pop("services.inference.vllm_engine.app", None)


def test_requests_are_asked_as_the_engine_takes_them(async_llm: type, facts: dict[str, Any]) -> None:
    recorded = facts["parameters"]["vllm.v1.engine.async_llm.AsyncLLM.generate"]
    known = inspect.signature(async_llm.generate).parameters.values()
    assert [p.name for p in known if p.kind == p.POSITIONAL_OR_KEYWORD][1:] == recorded["positional"]
    assert [p.name for p in known if p.kind == p.KEYWORD_ONLY] == recorded["keyword_only"]


def test_the_deployment_is_built_from_what_is_there(app: Any, facts: dict[str, Any]) -> None:
    built = app.build(SETTINGS, "digest")
    arguments = set(built.config.engine_kwargs)
    assert arguments <= set(facts["fields"]["vllm.engine.arg_utils.AsyncEngineArgs"])
    assert set(vars(built.config)) <= fields(f"{INTERNAL}.core.configs.llm_config", "LLMConfig")
    loading = fields(f"{INTERNAL}.core.configs.llm_config", "ModelLoadingConfig")
    assert set(built.config.model_loading_config) <= loading
    assert built.config.model_loading_config["model_source"] == {"bucket_uri": "s3://bucket/base"}
    mirror = fields("ray.llm._internal.common.utils.cloud_utils", "CloudMirrorConfig")
    assert "bucket_uri" in mirror
    builder = found("ray.serve.llm", ast.FunctionDef, "build_llm_deployment")
    assert {"deployment_cls", "bind_kwargs", "override_serve_options"} <= parameters(builder)
    assert built.bind_kwargs == {"settings": SETTINGS, "digest": "digest"}
    options = built.override_serve_options
    assert options["request_router_config"].request_router_class
    module, _, name = app.ROUTER.rpartition(".")
    assert found(module, ast.ClassDef, name)
    from ray import serve

    assert set(options) <= set(inspect.signature(serve.deployment).parameters)


def test_replicas_come_when_they_are_needed(app: Any) -> None:
    assert app.build(SETTINGS, "digest").override_serve_options["num_replicas"] == 1
    settings = SETTINGS.model_copy(update={"replicas": 2, "replicas_most": 8, "replica_load": 24})
    options = app.build(settings, "digest").override_serve_options
    assert "num_replicas" not in options  # Serve takes one or the other
    scaling = AutoscalingConfig(**options["autoscaling_config"])
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 8, 24)
    assert options["graceful_shutdown_timeout_s"] == settings.replica_drain_s


def test_a_model_is_a_folder_or_a_place_in_a_bucket(app: Any) -> None:
    assert app.source_of("file:///models/base") == "/models/base"
    with pytest.raises(Exception, match="INGRAIN_VLLM_MODEL"):
        app.source_of("")


def test_the_server_is_extended_where_it_has_room() -> None:
    server = found(f"{INTERNAL}.core.server.llm_server", ast.ClassDef, "LLMServer")
    methods = {n.name: n for n in server.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert isinstance(methods["__init__"], ast.AsyncFunctionDef)
    assert parameters(methods["__init__"]) == {"self", "llm_config", "engine_cls", "model_downloader"}
    assert not {"ask", "pieces", "facts", "digest"} & set(methods)
    started = ast.unparse(found(f"{INTERNAL}.engines.vllm.vllm_engine", ast.ClassDef, "VLLMEngine"))
    assert "self._engine_client = self._start_async_llm_engine(" in started
    assert "self.engine = self._engine_cls(" in ast.unparse(server)


def test_replicas_are_chosen_by_what_they_have_read() -> None:
    router = found(
        f"{INTERNAL}.routing_policies.prefix_aware.prefix_aware_router",
        ast.FunctionDef,
        "_extract_text_from_request",
    )
    assert "arg.prompt" in ast.unparse(router)  # what Routed has
    model: Any = SimpleNamespace(key="m1")
    other: Any = SimpleNamespace(key="m2")
    context = ContextRef("sha", "documents")
    asked: Callable[..., Any] = lambda *given: Routed(affinity_of(given[0]), "x", given[0]).prompt  # noqa: E731
    assert asked(ScoreCall(model, context, [("q", ["a"])])) == "m1/sha"
    assert asked(GenerateCall(model, context, ["q"])) == asked(PrefillCall(model, context)) == "m1/sha"
    assert asked(GenerateCall(other, context, ["q"])) == "m2/sha"
    assert asked(GenerateCall(model, None, ["x" * 9999])) == "m1/" + "x" * 512
    assert asked(CountCall(model, ["x"])) == ""
