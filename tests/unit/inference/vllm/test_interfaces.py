"""Our calls against what vLLM 0.29.0 and ray.serve.llm 2.60 publish: nothing is named that is not there."""

import ast
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ray.serve.config import AutoscalingConfig

from servicekit.errors import WrongState
from services.inference import vllm_engine
from services.inference.settings import InferenceSettings
from services.inference.vllm_engine.models import base_folder
from services.inference.vllm_engine.routing import ROUTER, beginning_of, router_arguments, sent
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


def replicas_of(application: Any) -> Any:
    """What stands behind the ingress."""
    (replicas,) = application._bound_deployment.init_args
    return replicas


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
    monkeypatch.delattr(vllm_engine, "app", raising=False)  # the package keeps it as well
    from services.inference.vllm_engine import app

    yield app
    sys.modules.pop("services.inference.vllm_engine.app", None)


def test_requests_are_asked_as_the_engine_takes_them(async_llm: type, facts: dict[str, Any]) -> None:
    recorded = facts["parameters"]["vllm.v1.engine.async_llm.AsyncLLM.generate"]
    known = inspect.signature(async_llm.generate).parameters.values()
    assert [p.name for p in known if p.kind == p.POSITIONAL_OR_KEYWORD][1:] == recorded["positional"]
    assert [p.name for p in known if p.kind == p.KEYWORD_ONLY] == recorded["keyword_only"]


def test_the_deployment_is_built_from_what_is_there(app: Any, facts: dict[str, Any]) -> None:
    built = replicas_of(app.build(SETTINGS, "digest"))
    arguments = set(built.config.engine_kwargs)
    assert arguments <= set(facts["fields"]["vllm.engine.arg_utils.AsyncEngineArgs"])
    assert set(vars(built.config)) <= fields(f"{INTERNAL}.core.configs.llm_config", "LLMConfig")
    loading = fields(f"{INTERNAL}.core.configs.llm_config", "ModelLoadingConfig")
    assert set(built.config.model_loading_config) <= loading
    assert app.config_of(SETTINGS, Path("/files")).model_loading_config["model_source"] == "/files"
    builder = found("ray.serve.llm", ast.FunctionDef, "build_llm_deployment")
    assert {"deployment_cls", "bind_kwargs", "override_serve_options"} <= parameters(builder)
    assert built.bind_kwargs == {"settings": SETTINGS, "digest": "digest"}
    options = built.override_serve_options
    router = options["request_router_config"]
    assert router.request_router_class == ROUTER
    module, _, name = ROUTER.rpartition(".")
    assert found(module, ast.ClassDef, name)
    known = found(
        f"{INTERNAL}.routing_policies.prefix_aware.prefix_aware_router", ast.FunctionDef, "initialize_state"
    )
    assert set(router.request_router_kwargs) <= parameters(known)
    from ray import serve

    assert set(options) <= set(inspect.signature(serve.deployment).parameters)


def test_replicas_come_when_they_are_needed(app: Any) -> None:
    assert replicas_of(app.build(SETTINGS, "digest")).override_serve_options["num_replicas"] == 1
    settings = SETTINGS.model_copy(update={"replicas": 2, "replicas_most": 8, "replica_load": 24})
    application = app.build(settings, "digest")
    options = replicas_of(application).override_serve_options
    assert "num_replicas" not in options  # Serve takes one or the other
    scaling = AutoscalingConfig(**options["autoscaling_config"])
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 8, 24)
    assert options["graceful_shutdown_timeout_s"] == settings.replica_drain_s
    # Before them a process without a GPU, which takes on what all of them may.
    ingress = application._bound_deployment
    assert ingress.num_replicas == 2
    assert ingress.max_ongoing_requests == 8 * settings.max_queued
    assert ingress.ray_actor_options["num_cpus"] < 1
    assert not ingress.ray_actor_options.get("num_gpus")


def test_without_a_model_nothing_is_built(app: Any) -> None:
    with pytest.raises(WrongState, match="INGRAIN_VLLM_MODEL"):
        app.build(SETTINGS.model_copy(update={"vllm_model": ""}), "digest")


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
    context, another = ContextRef("sha", "documents"), ContextRef("sha2", "documents")
    asked = beginning_of(ScoreCall(model, context, [("q", ["a"])]))
    assert (
        asked
        == beginning_of(GenerateCall(model, context, ["r"]))
        == beginning_of(PrefillCall(model, context))
    )
    others = [
        beginning_of(call)
        for call in (
            PrefillCall(model, another),
            PrefillCall(other, context),
            GenerateCall(model, None, ["q"]),
        )
    ]
    assert all(shared(asked, one) < KNOWN for one in others)
    assert beginning_of(CountCall(model, ["x"])) == ""


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("a" * 9999, "a" * 512 + "b" * 99, 1.0, 1.0),  # what stands further back does not count
        ("a" * 128 + "b" * 99, "a" * 128 + "c" * 99, 0.5, 0.52),
        ("a" * 64 + "b", "a" * 64 + "c" * 9999, 1 / 8, 1.0),
        ("short", "shorter", 0.0, 0.1),
        ("", "", 1.0, 1.0),
    ],
    ids=["long", "half", "a part of eight", "too short to be worth it", "nothing"],
)
def test_prompts_share_what_they_begin_with(one: str, other: str, least: float, most: float) -> None:
    model: Any = SimpleNamespace(key="m1")
    first = beginning_of(ScoreCall(model, None, [(one, ["a"])]))
    second = beginning_of(GenerateCall(model, None, [other]))
    assert least <= shared(first, second) <= most
    assert shared(first, second) >= KNOWN or not least


KNOWN = 0.1  # of a text; the router's own bound


def shared(known: str, asked: str) -> float:
    """As Ray's router reckons it: how much of what is asked begins like what is known."""
    assert asked
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(known, asked, strict=False))
    return len(list(same)) / len(asked)


def test_the_router_s_bound_is_what_beginnings_are_made_for() -> None:
    known = found(
        f"{INTERNAL}.routing_policies.prefix_aware.prefix_aware_router", ast.FunctionDef, "initialize_state"
    )
    names = [argument.arg for argument in known.args.args][-len(known.args.defaults) :]
    assert (
        ast.literal_eval(dict(zip(names, known.args.defaults, strict=True))["match_rate_threshold"]) == KNOWN
    )
    assert router_arguments(SETTINGS)["imbalanced_threshold"] == SETTINGS.replica_load


def test_calls_that_any_replica_may_answer_show_the_router_no_text() -> None:
    """It divides by the length of what it is shown, and looks at positional arguments only."""
    told: list[Any] = []
    ask = SimpleNamespace(remote=lambda *given, **named: told.append((given, named)))
    model: Any = SimpleNamespace(key="m1")
    sent(SimpleNamespace(ask=ask), "count", CountCall(model, ["x"]))
    sent(SimpleNamespace(ask=ask), "score", ScoreCall(model, None, [("", ["a"])]))
    (without, named), (given, _) = told
    assert (without, named["routed"].method) == ((), "count")
    assert given[0].prompt


async def test_the_base_model_is_fetched_from_storage_and_checked(
    stored: Callable[[str], Any], tmp_path: Path
) -> None:
    tiny = stored("llama")
    settings = tiny.settings.model_copy(update={"vllm_model": f"{tiny.ref.uri}/", "scratch": tmp_path})
    folder = await base_folder(settings)
    assert folder == tmp_path / "models" / tiny.ref.sha256
    assert {path.name for path in tiny.folder.iterdir()} == {path.name for path in folder.iterdir()}
    for wrong in (f"{tiny.ref.uri}-2", "s3://elsewhere/model"):
        with pytest.raises(WrongState, match="no model of this platform"):
            await base_folder(settings.model_copy(update={"vllm_model": wrong}))
