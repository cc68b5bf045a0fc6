"""A model's folder in object storage: its files and `manifest.json`.

`Model.uri` is the folder; `Model.sha256` is the digest over the lines `name sha256\\n` of its files in the order of their names.
"""

import fcntl
import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servicekit.errors import Unavailable
from servicekit.storage import Storage

MANIFEST = "manifest.json"
# What a model is made of. A hub's other files (pickles, graphs, pictures) are not even fetched.
MODEL_PATTERNS = (
    "*.safetensors",
    "*.json",
    "tokenizer.model",
    "vocab.txt",
    "merges.txt",
    "*.jinja",
    "README.md",
    "LICENSE*",
)
# What is needed to read text as the model does.
TOKENIZER_NAMES = (
    "config.json",
    "tokenizer",
    "special_tokens",
    "chat_template",
    "vocab",
    "merges",
    "added_tokens",
)


@dataclass(frozen=True)
class ModelFile:
    """One file of a model's folder."""

    name: str
    size_bytes: int
    sha256: str


def digest(files: Iterable[ModelFile]) -> str:
    lines = "".join(f"{file.name} {file.sha256}\n" for file in sorted(files, key=lambda file: file.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def is_tokenizer_file(name: str) -> bool:
    return name.startswith(TOKENIZER_NAMES)


def is_model_file(name: str) -> bool:
    """Whether it belongs to a model; other files of a folder are left behind."""
    return name != MANIFEST and any(fnmatch.fnmatch(name, pattern) for pattern in MODEL_PATTERNS)


async def publish(storage: Storage, prefix: str, folder: Path, about: dict[str, Any]) -> list[ModelFile]:
    """Puts the folder's model files under `prefix`, the manifest last. `about` goes into the manifest for people."""
    files = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and is_model_file(path.name)):
        stored = await storage.put_file(f"{prefix}/{path.name}", path)
        files.append(ModelFile(path.name, stored.size_bytes, stored.sha256))
    await put_manifest(storage, prefix, files, about)
    return files


async def put_manifest(storage: Storage, prefix: str, files: list[ModelFile], about: dict[str, Any]) -> None:
    manifest = {**about, "files": [asdict(file) for file in files]}
    await storage.put(f"{prefix}/{MANIFEST}", json.dumps(manifest, indent=1).encode())


async def read_files(storage: Storage, prefix: str) -> list[ModelFile]:
    """The files that the manifest under `prefix` names."""
    manifest = json.loads(await storage.get(f"{prefix}/{MANIFEST}"))
    return [ModelFile(**file) for file in manifest["files"]]


async def remove(storage: Storage, prefix: str) -> None:
    """Takes back what `publish` put."""
    for file in await read_files(storage, prefix):
        await storage.delete(f"{prefix}/{file.name}")
    await storage.delete(f"{prefix}/{MANIFEST}")


async def fetch(
    storage: Storage, prefix: str, folder: Path, wanted: Callable[[str], bool] = lambda _: True
) -> Path:
    """The model's wanted files in `folder`, checked by digest. Processes of one machine share the folder: the first
    fetches, the others wait for it."""
    with exclusive(folder.with_suffix(".lock")):
        if (folder / MANIFEST).is_file():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        for file in await read_files(storage, prefix):
            if wanted(file.name):
                found = await storage.get_file(f"{prefix}/{file.name}", folder / file.name)
                if found != file.sha256:
                    raise Unavailable(
                        "FILE_CORRUPT", f"{file.name} of the model is not what was stored.", file=file.name
                    )
        # The manifest comes last: its presence says that the folder is whole.
        await storage.get_file(f"{prefix}/{MANIFEST}", folder / MANIFEST)
    return folder


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """A lock between processes of this machine; released by the kernel when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
