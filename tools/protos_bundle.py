"""Packs dist/ingrain-protos.tar.gz: all that callers in other languages need to generate stubs, without network.

The contract, every file that it imports with its licence, a descriptor set, and a README for four languages.
"""

import argparse
import gzip
import importlib.metadata
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from google.protobuf import descriptor_pb2

# Run as a script and as a module.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools import protos
from tools.proto_text import proto_text

OUT = protos.ROOT / "dist" / "ingrain-protos.tar.gz"
VALIDATE = "buf/validate/validate.proto"
VALIDATE_HEADER = """Copyright 2023-2026 Buf Technologies, Inc. Licensed under the Apache License, Version 2.0.

Rules for fields, by which Ingrain checks requests. This text was written from the descriptor that the Python package
protovalidate carries; it has no comments and means the same. https://github.com/bufbuild/protovalidate"""
# No file of the contract imports it, but errors carry its messages.
ERROR_DETAILS = "google/rpc/error_details.proto"
LICENCES = {
    "LICENSE-googleapis": ("googleapis-common-protos", "google/api, google/rpc, google/longrunning"),
    "LICENSE-protobuf": ("protobuf", "google/protobuf"),
    "LICENSE-protovalidate": ("protovalidate", "buf/validate"),
}


def collect(folder: Path) -> None:
    """Writes the bundle's files to an empty folder."""
    protos.BUILD.mkdir(parents=True, exist_ok=True)
    validate = protos.validate_descriptors()
    includes = [
        protos.PROTOS,
        protos.include_folder(),
        Path(protos.SITE) / "grpc_tools" / "_proto",
    ]
    sources = sorted(str(p.relative_to(protos.PROTOS)) for p in (protos.PROTOS / "ingrain").rglob("*.proto"))
    image = folder / "descriptors.binpb"
    protos.protoc(
        f"--descriptor_set_in={validate}",
        *(f"-I{include}" for include in includes),
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={image}",
        *sources,
        ERROR_DETAILS,
    )
    for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
        target = folder / "protos" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.name == VALIDATE:
            target.write_text(proto_text(_with_options(file), VALIDATE_HEADER), encoding="utf-8")
        else:
            shutil.copy(next(i / file.name for i in includes if (i / file.name).exists()), target)
    (folder / "LICENSES").mkdir()
    for name, (package, _) in LICENCES.items():
        (folder / "LICENSES" / name).write_text(_licence(package), encoding="utf-8")
    (folder / "README.md").write_text(_readme(sources), encoding="utf-8")


def pack(folder: Path, archive: Path) -> None:
    """The same files give the same bytes: no times, no owners, sorted."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = tarfile.TarInfo(f"ingrain-protos/{path.relative_to(folder).as_posix()}")
            info.size, info.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(info, file)
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(gzip.compress(raw.getvalue(), mtime=0))


def _with_options(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """Reads it again with the generated module loaded, so that its own options are known fields."""
    from buf.validate import validate_pb2

    known = descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString())
    if known.package != validate_pb2.DESCRIPTOR.package:
        raise ValueError(f"{file.name} is not what the stubs were generated from")
    return known


def _licence(package: str) -> str:
    """The licence's text from the installed package."""
    for path in importlib.metadata.files(package) or ():
        if path.name == "LICENSE" and ".dist-info" in str(path.parent):
            return path.read_text()
    raise FileNotFoundError(f"the installed {package} carries no LICENSE")


def _readme(sources: list[str]) -> str:
    vendored = "\n".join(f"- `protos/{what}`: `LICENSES/{name}`" for name, (_, what) in LICENCES.items())
    return f"""# Ingrain's contract

`protos/` holds `{len(sources)}` files of `ingrain/v1` and everything that they import; `descriptors.binpb` is the same
as a descriptor set (for grpcurl: `-protoset descriptors.binpb`). Nothing has to be downloaded to compile them.
`docs/grpc.md` of the repository tells the rest: credentials, deadlines, errors, long operations.

Python (`pip install grpcio-tools`; into a folder that is on the path):

    mkdir -p gen
    python -m grpc_tools.protoc -Iprotos --python_out=gen --grpc_python_out=gen \\
        $(cd protos && find ingrain buf google/api google/rpc google/longrunning -name '*.proto')

Go (`protoc-gen-go`, `protoc-gen-go-grpc`; Google's and Buf's Go packages come from their modules):

    protoc -Iprotos --go_out=gen --go_opt=module=github.com/ingrain-platform/ingrain/gen/go \\
        --go-grpc_out=gen --go-grpc_opt=module=github.com/ingrain-platform/ingrain/gen/go \\
        $(cd protos && find ingrain -name '*.proto')

Java (`protoc-gen-grpc-java`; package `io.ingrain.v1`):

    protoc -Iprotos --java_out=gen --grpc-java_out=gen \\
        $(cd protos && find ingrain buf google/api google/rpc google/longrunning -name '*.proto')

TypeScript (`@protobuf-ts/plugin`, or `ts-proto`):

    npx protoc -Iprotos --ts_out=gen $(cd protos && find ingrain -name '*.proto')

Long operations are `google.longrunning.Operations` at the same address. Request rules stand in the protos as
`buf.validate` options; the platform checks them, clients need no library for them.

Licences of what is vendored:

{vendored}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    folder = protos.BUILD / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    collect(folder)
    pack(folder, options.out)
    # An archive that does not compile by itself must not leave the house.
    check = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder / 'protos'}", "-o/dev/null"]
    compiled = [
        str(p.relative_to(folder / "protos")) for p in (folder / "protos" / "ingrain").rglob("*.proto")
    ]
    subprocess.run([*check, *compiled], check=True)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
