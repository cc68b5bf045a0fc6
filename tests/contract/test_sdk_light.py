"""What users install is small: no heavy imports, no platform code, every Python from 3.10 on."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "sdk"
HEAVY = {
    "torch",
    "ray",
    "transformers",
    "deepspeed",
    "peft",
    "vllm",
    "numpy",
    "pandas",
    "services",
    "servicekit",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(SDK, folder / "sdk", ignore=ignore)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(folder), str(folder / "sdk")], check=True, timeout=180)
    return next(folder.glob("ingrain-*.whl"))


def test_wheel_holds_the_client_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(archive.read(next(n for n in names if n.endswith("METADATA"))).decode())
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"ingrain", "buf"}
    for module in (
        "client.py",
        "cli/__init__.py",
        "testing/__init__.py",
        "v1/studies_pb2.py",
        "worlds/__init__.py",
    ):
        assert f"ingrain/{module}" in names
    # What an extra asks for is nobody's but who asks for the extra.
    always = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    required = {line.split(">")[0].split("<")[0].strip() for line in always}
    assert required == {"grpcio", "protobuf", "googleapis-common-protos", "typer", "rich"}
    assert metadata["Requires-Python"] == ">=3.10"
    assert wheel.stat().st_size < 1_000_000


def test_import_pulls_nothing_heavy() -> None:
    code = """
import json, sys
import ingrain, ingrain.testing, ingrain.probes
core = sorted(sys.modules)
import ingrain.cli
print(json.dumps([core, sorted(sys.modules)]))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    core, cli = ({name.split(".")[0] for name in modules} for modules in json.loads(out.stdout))
    assert not cli & HEAVY
    assert not core & {"typer", "rich"}


def test_sources_are_python_3_10() -> None:
    files = list((SDK / "src").rglob("*.py"))
    assert len(files) > 30
    for path in files:
        ast.parse(path.read_text(), str(path), feature_version=(3, 10))


def interpreter(version: str) -> str | None:
    """One that really runs: pyenv's shims are there even where they only print an error."""
    managed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin/python"))
    for candidate in [shutil.which(f"python{version}"), *map(str, managed)]:
        if candidate and subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return candidate
    return None


OTHERS = ["3.10", "3.12", "3.13"]  # the rest of the tests run on 3.11


@pytest.mark.parametrize("version", OTHERS)
def test_compiles_on_other_pythons(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"python{version} is not on this machine; the syntax is checked by the test above")
    code = "import sys, pathlib\nfor p in map(pathlib.Path, sys.argv[1:]): compile(p.read_text(), str(p), 'exec')"
    files = [str(p) for p in (SDK / "src").rglob("*.py")]
    done = subprocess.run([python, "-c", code, *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHERS)
def test_installed_wheel_imports_on_other_pythons(version: str, wheel: Path, tmp_path: Path) -> None:
    """With what pip finds for that Python. A machine without such a Python, or without a registry, cannot tell."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"python{version} is not on this machine")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    own = tmp_path / "venv" / "bin" / "python"
    install = [str(own), "-m", "pip", "install", "--disable-pip-version-check", "-q", str(wheel)]
    installed = subprocess.run(install, capture_output=True, text=True, timeout=300)
    # A registry that answers names the versions that it has, also where none of them is for that Python.
    if (
        "(from versions: none)" in installed.stderr
        and "No matching distribution found for grpcio" in installed.stderr
    ):
        pytest.skip("no package registry answers")
    assert installed.returncode == 0, installed.stderr
    modules = sorted(
        str(path.relative_to(SDK / "src").with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in (SDK / "src").rglob("*.py")
        if path.name != "__main__.py"
    )
    code = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
from ingrain import worlds
from ingrain.testing import FakePlatform
from ingrain import Client
assert worlds.suite(seed=1, reversal_worlds=1, facts=2).documents
with FakePlatform() as platform, Client(platform.target) as client:
    assert client.datasets.upload([{"id": "a", "text": "b"}], "docs").row_count == 1
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run = {"capture_output": True, "text": True, "timeout": 120, "cwd": tmp_path, "env": environment}
    done = subprocess.run([str(own), "-c", code, *modules], **run)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run([str(own.with_name("ingrain")), "--help"], **run)
    assert shown.returncode == 0, shown.stderr
    assert "study" in shown.stdout
