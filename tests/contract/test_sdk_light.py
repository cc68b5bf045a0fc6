"""What users install is small: no heavy imports, no platform code, every Python from 3.10 on."""

import ast
import json
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
    required = {line.split(">")[0].split("<")[0].strip() for line in metadata.get_all("Requires-Dist")}
    assert required == {"grpcio", "protobuf", "googleapis-common-protos", "typer", "rich"}
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


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_compiles_on_other_pythons(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"python{version} is not on this machine; the syntax is checked by the test above")
    code = "import sys, pathlib\nfor p in map(pathlib.Path, sys.argv[1:]): compile(p.read_text(), str(p), 'exec')"
    files = [str(p) for p in (SDK / "src").rglob("*.py")]
    done = subprocess.run([python, "-c", code, *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
