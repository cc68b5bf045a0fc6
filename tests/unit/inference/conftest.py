import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services.inference.engine.replica import Engine
from services.inference.settings import InferenceSettings


def load_tiny() -> ModuleType:
    name = "inference_test_models"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("tiny.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    return load_tiny()


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, tiny: ModuleType) -> Callable[[str], Any]:
    """An architecture's name -> Tiny; `adapter` stands on `llama`, `chat` is a llama with a chat template."""
    root = tmp_path_factory.mktemp("inference")
    storage = root / "storage"
    settings = InferenceSettings(storage=f"file://{storage}", scratch=root / "scratch")
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            folder, base = root / name, None
            if name == "adapter":
                base = make("llama").ref
                from transformers import AutoModelForCausalLM

                tiny.make_adapter(folder, AutoModelForCausalLM.from_pretrained(root / "llama"))
            else:
                tiny.make_model(folder, "llama" if name == "chat" else name, len(name), name == "chat")
            uri, sha256 = tiny.publish(folder, storage, f"projects/p/models/{name}/a")
            made[name] = tiny.Tiny(tiny.describe(name, uri, sha256, name == "chat", base), folder, settings)
        return made[name]

    return make


@pytest.fixture
def engine(stored: Callable[[str], Any]) -> Engine:
    return Engine(stored("llama").settings)
