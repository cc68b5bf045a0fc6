"""Doors stay light: what answers calls imports nothing that trains or serves models."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "ray", "transformers", "deepspeed", "peft", "vllm", "tokenizers", "safetensors", "pandas"}
IMPORT = "import importlib, json, sys; [importlib.import_module(m) for m in sys.argv[1:]]; print(json.dumps(list(sys.modules)))"


def imported(*modules: str) -> set[str]:
    """Top names of all that is loaded in a fresh process after importing `modules`."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *modules],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_servicekit_and_the_sdk_are_light() -> None:
    kit = [
        f"servicekit.{path.stem}" for path in (ROOT / "servicekit").glob("*.py") if path.stem != "__init__"
    ]
    assert len(kit) > 15
    assert not imported("ingrain", *kit) & HEAVY


@pytest.mark.parametrize("service", ["gateway", "augmenter", "trainer", "inference", "evaluator", "studies"])
def test_the_doors_of_services_are_light(service: str) -> None:
    assert not imported(f"services.{service}.__main__") & HEAVY


def test_imports_keep_to_their_contracts() -> None:
    """Services know nothing of one another, the kit and the SDK nothing of services."""
    lint = str(Path(sys.executable).parent / "lint-imports")
    done = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stdout
