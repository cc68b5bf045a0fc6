"""Callers in other languages go the whole road: stubs generated from the bundle alone, compiled, run against the fake platform.

Each needs its toolchain, and is skipped with the reason where that is not here; examples/README.md says what to install.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingrain.testing import FakePlatform

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MOST_LINES = 60
NODE_MODULES = ROOT / "build" / "callers" / "node_modules"
GO_PATH = Path("/usr/share/gocode")
JARS = Path("/usr/share/java")
JAR_NAMES = (
    "grpc-api", "grpc-core", "grpc-context", "grpc-netty", "grpc-protobuf", "grpc-protobuf-lite", "grpc-stub",
    "protobuf", "guava", "failureaccess", "perfmark-api", "opencensus-api", "gson",
    "netty-buffer", "netty-codec", "netty-codec-http", "netty-codec-http2", "netty-common", "netty-handler",
    "netty-resolver", "netty-transport",
)  # fmt: skip
OPTIONAL_JARS = ("failureaccess", "opencensus-api", "gson")
# Of packages that Java left out of itself; grpc-java's older generator still names it.
GENERATED = 'package javax.annotation; public @interface Generated { String value() default ""; String comments() default ""; }'


def without(*tools: str) -> str:
    missing = [tool for tool in tools if not shutil.which(tool)]
    return f"needs {', '.join(missing)}" if missing else ""


def without_java() -> str:
    jars = [name for name in JAR_NAMES if name not in OPTIONAL_JARS and not (JARS / f"{name}.jar").exists()]
    return without("java", "javac", "protoc", "grpc_java_plugin") or (
        f"needs {', '.join(jars)}" if jars else ""
    )


def without_go() -> str:
    packages = [
        name
        for name in ("grpc", "protobuf", "genproto")
        if not (GO_PATH / "src/google.golang.org" / name).exists()
    ]
    tools = without("go", "protoc-gen-go", "protoc-gen-go-grpc")
    return tools or (f"needs {', '.join(packages)} of google.golang.org" if packages else "")


def without_typescript() -> str:
    return without("node") or ("" if NODE_MODULES.exists() else "needs npm's packages: make callers")


def skipped_if(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(reason), reason=reason)


@pytest.fixture(scope="module")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    archive = folder / "protos.tar.gz"
    tool = [sys.executable, str(ROOT / "tools" / "protos_bundle.py"), "--out", str(archive)]
    subprocess.run(tool, check=True, timeout=120)
    shutil.unpack_archive(archive, folder)  # `filter` came with Python 3.11.4
    return folder / "ingrain-protos" / "protos"


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as running:
        yield running


def files_of(protos: Path, *folders: str) -> list[str]:
    return sorted(
        str(p.relative_to(protos)) for folder in folders for p in (protos / folder).rglob("*.proto")
    )


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def went_the_road(said: str) -> None:
    told = dict(line.split(": ", 1) for line in said.strip().splitlines())
    assert told["recommended"] in ("base", "icl")
    assert told["answer"]


@pytest.mark.parametrize("file", ["go/road.go", "java/Road.java", "typescript/road.ts"])
def test_an_example_is_short(file: str) -> None:
    assert len((EXAMPLES / file).read_text().splitlines()) <= MOST_LINES


@pytest.mark.slow
@skipped_if(without_go())
def test_go(protos: Path, platform: FakePlatform, tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "road").mkdir(parents=True)
    shutil.copy(EXAMPLES / "go" / "road.go", source / "road")
    # Where modules are fetched neither is needed: Buf's and Google's packages come from their own.
    own = "Mbuf/validate/validate.proto=example.org/validate,Mgoogle/longrunning/operations.proto=google.golang.org/genproto/googleapis/longrunning"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    outs = (f"--go_out={own}:{source}", f"--go-grpc_out={own}:{source}")
    run(*protoc, *outs, "buf/validate/validate.proto", *files_of(protos, "ingrain"), folder=protos)
    built = tmp_path / "road"
    run(
        "go", "build", "-o", built, ".",
        folder=source / "road",
        GO111MODULE="off",
        GOPATH=f"{tmp_path}:{GO_PATH}",
        GOFLAGS="",
    )  # fmt: skip
    went_the_road(run(built, platform.target, "bundled://small", folder=tmp_path))


@pytest.mark.slow
@skipped_if(without_java())
def test_java(protos: Path, platform: FakePlatform, tmp_path: Path) -> None:
    stubs, out = tmp_path / "gen", tmp_path / "out"
    (stubs / "javax" / "annotation").mkdir(parents=True)
    (stubs / "javax" / "annotation" / "Generated.java").write_text(GENERATED)
    out.mkdir()
    plugin = f"--plugin=protoc-gen-grpc-java={shutil.which('grpc_java_plugin')}"
    files = files_of(protos, "ingrain", "buf", "google/api", "google/rpc", "google/longrunning")
    # The protoc of the distribution, because the code must go with its runtime.
    run("protoc", "-I.", plugin, f"--java_out={stubs}", f"--grpc-java_out={stubs}", *files, folder=protos)
    jars = ":".join(str(JARS / f"{name}.jar") for name in JAR_NAMES if (JARS / f"{name}.jar").exists())
    small = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    quick = [f"-J{option}" for option in (*small, "-Xmx768m")]
    road = EXAMPLES / "java" / "Road.java"
    run(
        "javac",
        *quick,
        "-nowarn",
        "-proc:none",
        "-cp",
        jars,
        "-sourcepath",
        stubs,
        "-d",
        out,
        road,
        folder=tmp_path,
    )
    said = run(
        "java", *small, "-cp", f"{out}:{jars}", "Road", platform.target, "bundled://small", folder=tmp_path
    )
    went_the_road(said)


@pytest.mark.slow
@skipped_if(without_typescript())
def test_typescript(protos: Path, platform: FakePlatform, tmp_path: Path) -> None:
    for name in ("road.ts", "package.json", "tsconfig.json"):
        shutil.copy(EXAMPLES / "typescript" / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "gen").mkdir()
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    options = "outputServices=grpc-js,esModuleInterop=true,env=node,forceLong=number"
    plugin = f"--plugin=protoc-gen-ts_proto={NODE_MODULES / '.bin' / 'protoc-gen-ts_proto'}"
    outs = (f"--ts_proto_out={tmp_path / 'gen'}", f"--ts_proto_opt={options}")
    run(*protoc, plugin, *outs, *files_of(protos, "ingrain"), folder=protos)
    run(NODE_MODULES / ".bin" / "tsc", "-p", ".", folder=tmp_path)
    went_the_road(run("node", "out/road.js", platform.target, folder=tmp_path))
