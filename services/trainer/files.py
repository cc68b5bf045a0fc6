"""A model's folder in object storage: its files and `manifest.json`.

`Model.uri` is the folder; `servicekit.model_files` says how others find and check what lies in it.
"""

import fcntl
import fnmatch
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingrain.v1 import trainer_pb2
from servicekit.errors import DomainError, Unavailable, WrongState
from servicekit.model_files import (
    MANIFEST,
    Manifest,
    ModelFile,
    digest,
    manifest_folder,
    put_manifest,
    read_manifest,
)
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage

__all__ = ["MANIFEST", "Manifest", "ModelFile", "digest", "put_manifest", "read_manifest"]

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


def home(storage: Storage, model: trainer_pb2.Model) -> str:
    """Key of the folder with the model's manifest; mostly its files are there too."""
    return manifest_folder(storage, model.name, model.uri, model.sha256)


async def read_files(storage: Storage, prefix: str) -> list[ModelFile]:
    """The files that the manifest under `prefix` names."""
    return (await read_manifest(storage, prefix)).files


async def remove(storage: Storage, prefix: str) -> None:
    """Takes back what `publish` put."""
    for file in await read_files(storage, prefix):
        await storage.delete(f"{prefix}/{file.name}")
    await storage.delete(f"{prefix}/{MANIFEST}")


async def fetch(
    storage: Storage,
    prefix: str,
    folder: Path,
    wanted: Callable[[str], bool] = lambda _: True,
    settings: ServiceSettings | None = None,
) -> Path:
    """The model's wanted files in `folder`, checked by digest. Processes of one machine share the folder: the first
    fetches, the others wait for it. `settings`: how to reach files that stay in another bucket; default the environment's."""
    with exclusive(folder.with_suffix(".lock")):
        if (folder / MANIFEST).is_file():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        manifest = await read_manifest(storage, prefix)
        source, place = manifest.place(storage, prefix, settings or ServiceSettings())
        for file in manifest.files:
            if wanted(file.name):
                found = await source.get_file(f"{place}/{file.name}", folder / file.name)
                if found != file.sha256:
                    raise changed(manifest, file)
        # The manifest comes last: its presence says that the folder is whole.
        await storage.get_file(f"{prefix}/{MANIFEST}", folder / MANIFEST)
    return folder


def changed(manifest: Manifest, file: ModelFile) -> DomainError:
    """What is read is not what the manifest says. Where the platform's own storage gave it, it may be right the next time."""
    if not manifest.uri:
        return Unavailable(
            "FILE_CORRUPT", f"{file.name} of the model is not what was stored.", file=file.name
        )
    return WrongState(
        "MODEL_CHANGED_IN_PLACE",
        f"{manifest.uri}/{file.name} is not what was imported: its digest is another one. Put the old file back, or import the "
        "model again.",
        file=file.name,
        uri=manifest.uri,
    )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """A lock between processes of this machine; released by the kernel when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
