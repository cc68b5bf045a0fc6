"""Generates the Python stubs from protos/ into sdk/src, and the descriptor image that buf checks.

    python tools/protos.py                 writes sdk/src/ingrain/v1, sdk/src/buf and build/ingrain.binpb
    python tools/protos.py --out FOLDER    writes the stubs elsewhere (the staleness test compares)
    python tools/protos.py --lint          builds the image and runs buf lint on it

No network: google/api comes from googleapis-common-protos, and the text of google/longrunning from the same
package under another file name; buf/validate is taken as a descriptor out of the installed protovalidate.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
BUILD = ROOT / "build" / "protos"
SITE = Path(sysconfig.get_paths()["purelib"])


def validate_descriptors() -> Path:
    """Descriptor set of buf/validate/validate.proto and what it imports (no wheel ships its text)."""
    from protovalidate._gen.buf.validate import validate_pb

    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb._DESC.proto.to_binary())
    path = BUILD / "validate.binpb"
    path.write_bytes(files.SerializeToString())
    return path


def include_folder() -> Path:
    """Google's protos under the file names that the runtime registers."""
    folder = BUILD / "include"
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("google/api", "google/rpc"):
        shutil.copytree(
            SITE / part,
            folder / part,
            ignore=lambda d, names: [n for n in names if n.endswith((".py", ".pyi", "__pycache__"))],
        )
    target = folder / "google/longrunning/operations.proto"
    target.parent.mkdir(parents=True)
    shutil.copy(SITE / "google/longrunning/operations_proto.proto", target)
    return folder


def protoc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "sdk" / "src")
    parser.add_argument("--lint", action="store_true")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    common = [
        f"--descriptor_set_in={validate_descriptors()}",
        f"-I{PROTOS}",
        f"-I{include_folder()}",
        f"-I{Path(sysconfig.get_paths()['purelib']) / 'grpc_tools' / '_proto'}",
    ]
    sources = sorted(str(p.relative_to(PROTOS)) for p in (PROTOS / "ingrain").rglob("*.proto"))
    image = BUILD / "ingrain.binpb"
    protoc(*common, "--include_imports", "--include_source_info", f"--descriptor_set_out={image}", *sources)
    if options.lint:
        buf = Path(sys.executable).parent / "buf"
        sys.exit(
            subprocess.run(
                [str(buf), "lint", str(image), "--config", str(ROOT / "protos" / "buf.yaml")]
            ).returncode
        )
    options.out.mkdir(parents=True, exist_ok=True)
    outs = [f"--python_out={options.out}", f"--pyi_out={options.out}"]
    protoc(*common, *outs, f"--grpc_python_out={options.out}", *sources)
    protoc(*common, *outs, "buf/validate/validate.proto")
    for folder in (options.out / "ingrain" / "v1", options.out / "buf", options.out / "buf" / "validate"):
        (folder / "__init__.py").write_text('"""Generated from protos/ by `make protos`; never edited."""\n')


if __name__ == "__main__":
    main()
