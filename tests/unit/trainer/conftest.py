import importlib.util
import sys
from pathlib import Path

import pytest


def load_checkpoints():
    """The builder beside this file; tests are no package, so it is loaded by its path."""
    name = "trainer_test_checkpoints"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("checkpoints.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def build_checkpoint(tmp_path_factory):
    """build_checkpoint(architecture, **options) -> folder; each variant is built once."""
    built = {}

    def build(architecture="llama", **options):
        key = (architecture, *sorted(options.items()))
        if key not in built:
            built[key] = load_checkpoints().build(
                tmp_path_factory.mktemp(architecture), architecture, **options
            )
        return built[key]

    return build
