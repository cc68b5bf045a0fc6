import importlib.util
import os
import sys
from pathlib import Path

import pytest


def beside(file):
    """A module beside this file; tests are no package, so it is loaded by its path."""
    name = f"trainer_test_{file}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{file}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def load_checkpoints():
    """The builder of tiny checkpoints."""
    return beside("checkpoints")


@pytest.fixture(scope="session")
def process_group(tmp_path_factory):
    """A group of one, as Ray Train would have set it up. DeepSpeed keeps the first group of a process for good."""
    import torch.distributed as dist

    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", DS_ACCELERATOR="cpu")
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """fit(base folder) -> fits.Fit, in storage and scratch of the test's own."""
    monkeypatch.setenv("INGRAIN_STORAGE", f"file://{tmp_path}/storage")
    monkeypatch.setenv("INGRAIN_SCRATCH", f"{tmp_path}/scratch")
    return lambda base: beside("fits").Fit(base, tmp_path)


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


@pytest.fixture
async def desk(tmp_path, monkeypatch):
    """A trainer without its process; desk.Desk."""
    async with beside("desk").opened(tmp_path, monkeypatch) as desk:
        yield desk
