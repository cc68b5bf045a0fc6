"""The archive for other languages compiles alone, and its stubs alone go the whole road."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from ingrain.testing import FakePlatform

ROOT = Path(__file__).resolve().parents[2]

# Without `site` there are no .pth files, so the editable SDK cannot be found; grpc and protobuf still can.
ROAD = """
import runpy, sys
stubs, site, script, target = sys.argv[1:]
sys.path[:0] = [stubs, site]
sys.argv = [script, target]
runpy.run_path(script, run_name="__main__")
assert "ingrain.client" not in sys.modules
assert sys.modules["ingrain.v1.studies_pb2"].__file__.startswith(stubs)
assert sys.modules["google.longrunning.operations_pb2"].__file__.startswith(stubs)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    archive = folder / "protos.tar.gz"
    tool = [sys.executable, str(ROOT / "tools" / "protos_bundle.py"), "--out", str(archive)]
    subprocess.run(tool, check=True, timeout=120)
    shutil.unpack_archive(archive, folder)  # `filter` came with Python 3.11.4
    return folder / "ingrain-protos"


@pytest.fixture(scope="module")
def stubs(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything but google/protobuf, which the runtime has, by plain protoc with one include folder."""
    out = tmp_path_factory.mktemp("stubs")
    protos = bundle / "protos"
    files = [str(p.relative_to(protos)) for p in protos.rglob("*.proto")]
    own = [name for name in files if not name.startswith("google/protobuf/")]
    protoc = [sys.executable, "-I", "-m", "grpc_tools.protoc", "-I."]
    subprocess.run(
        [*protoc, f"--python_out={out}", f"--grpc_python_out={out}", *own],
        cwd=protos,
        check=True,
        timeout=120,
    )
    return out


def test_carries_licences_and_descriptors(bundle: Path) -> None:
    for name in ("LICENSE-googleapis", "LICENSE-protobuf", "LICENSE-protovalidate"):
        assert len((bundle / "LICENSES" / name).read_text()) > 1000
    readme = (bundle / "README.md").read_text()
    assert all(language in readme for language in ("Python", "Go", "Java", "TypeScript"))
    described = descriptor_pb2.FileDescriptorSet.FromString((bundle / "descriptors.binpb").read_bytes())
    texts = {str(p.relative_to(bundle / "protos")) for p in (bundle / "protos").rglob("*.proto")}
    assert {file.name for file in described.file} == texts
    for file in described.file:
        if file.package == "ingrain.v1":
            assert file.options.go_package
            assert file.options.java_package == "io.ingrain.v1"


def test_written_validate_text_means_the_same(bundle: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "validate.binpb"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"-o{compiled}", "buf/validate/validate.proto"],
        cwd=bundle / "protos",
        check=True,
        timeout=60,
    )
    from buf.validate import validate_pb2

    written = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file[0]
    original = descriptor_pb2.FileDescriptorProto()
    validate_pb2.DESCRIPTOR.CopyToProto(original)
    written.ClearField("syntax")
    original.ClearField("syntax")
    assert written == original


def test_road_with_stubs_from_the_bundle_only(stubs: Path) -> None:
    with FakePlatform() as platform:
        script = str(ROOT / "examples" / "raw_grpc.py")
        site = sysconfig.get_paths()["purelib"]
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", ROAD, str(stubs), site, script, platform.target],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("uploaded projects/default/datasets/")
    assert any(line.startswith("icl: ") for line in said)
    assert said[-2].startswith("recommended: ")
    assert said[-1] == "answer: bralo are warmer than cemid."


def test_bare_stubs_tell_an_error(stubs: Path) -> None:
    script = str(ROOT / "examples" / "raw_grpc.py")
    site = sysconfig.get_paths()["purelib"]
    with FakePlatform(api_key="right") as platform:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", ROAD, str(stubs), site, script, platform.target],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == "UNAUTHENTICATED: send an API key as `authorization: Bearer <key>` [NO_CREDENTIALS]"
    )
