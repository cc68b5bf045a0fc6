"""Where a model's files lie and what they are: `manifest.json` in the platform's storage, with name, size and digest of each.

The files lie beside it. Those of a model that was imported in place stay in a bucket of somebody else: the manifest then names that
place (`uri`), and what is read there is checked by the same digests.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_uri

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ModelFile:
    """One file of a model's folder. `etag`: as the server of a file that stays in place gave it; empty elsewhere."""

    name: str
    size_bytes: int
    sha256: str
    etag: str = ""


@dataclass(frozen=True)
class Manifest:
    """`uri`: the folder of the files where that is not the manifest's own."""

    files: list[ModelFile]
    uri: str = ""

    def place(self, storage: Storage, folder: str, settings: ServiceSettings) -> tuple[Storage, str]:
        """Storage and folder of the files, given those of the manifest."""
        return open_uri(self.uri, settings) if self.uri else (storage, folder)


def digest(files: Iterable[ModelFile]) -> str:
    """`Model.sha256`: over the lines `name sha256` of the files in the order of their names."""
    lines = "".join(f"{file.name} {file.sha256}\n" for file in sorted(files, key=lambda file: file.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def manifest_folder(storage: Storage, name: str, uri: str, sha256: str) -> str:
    """Key of the folder in the platform's own storage that holds the manifest of a model of this name, uri and sha256."""
    return storage.key(uri) if uri.startswith(f"{storage.root}/") else f"{name}/in-place/{sha256}"


async def read_manifest(storage: Storage, folder: str) -> Manifest:
    """NotFound where there is none."""
    manifest = json.loads(await storage.get(f"{folder}/{MANIFEST}"))
    return Manifest([ModelFile(**file) for file in manifest["files"]], manifest.get("uri", ""))


async def put_manifest(
    storage: Storage, folder: str, files: list[ModelFile], about: dict[str, Any], uri: str = ""
) -> None:
    """`about` goes in for people."""
    listed = [{k: v for k, v in asdict(file).items() if v != ""} for file in files]
    manifest = {**about, **({"uri": uri} if uri else {}), "files": listed}
    await storage.put(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=1).encode())
