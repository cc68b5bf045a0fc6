"""Files of a source URI: one file or a folder, in the order of their paths."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from servicekit.errors import Invalid, NotFound
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_uri
from services.augmenter.formats.endings import READABLE, ending_of, family_of


@dataclass(frozen=True)
class Source:
    """A file: `path` is shown to users, `chunks` reads it."""

    path: str
    size_bytes: int
    storage: Storage | None = None
    key: str = ""
    file: Path | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.file is not None:
            with self.file.open("rb") as file:
                while chunk := file.read(1 << 20):
                    yield chunk
        elif self.storage is not None:
            async for chunk in self.storage.stream(self.key):
                yield chunk

    @asynccontextmanager
    async def fetched(self, folder: Path) -> AsyncIterator[Path]:
        """The file on this machine, in `folder` for as long as it is needed where it came from elsewhere."""
        if self.file is not None or self.storage is None:
            yield self.file or folder
            return
        file = folder / "fetched"
        try:
            await self.storage.get_file(self.key, file)
            yield file
        finally:
            file.unlink(missing_ok=True)


async def find(source_uri: str, settings: ServiceSettings) -> tuple[list[Source], Counter[str]]:
    """Readable files, and how many others were skipped: by their ending, or because they are hidden."""
    found = (
        [s async for s in _s3(source_uri, settings)]
        if source_uri.startswith("s3://")
        else _local(source_uri, settings)
    )
    skipped: Counter[str] = Counter()
    readable = []
    for source in sorted(found, key=lambda source: source.path):
        if len(found) > 1 and any(part.startswith(".") for part in source.path.split("/")):
            skipped["skipped hidden files"] += 1
        elif family_of(source.path):
            readable.append(source)
        else:
            skipped[skipped_by_ending(source.path)] += 1
    if not readable:
        raise Invalid(
            "NOTHING_TO_IMPORT",
            f"{source_uri} has no {', '.join(READABLE)} file"
            + (f" (skipped: {dict(skipped)})" if skipped else ""),
            field="source_uri",
        )
    return readable, skipped


def skipped_by_ending(path: str) -> str:
    """What a dataset's counts say of a file that nobody reads."""
    return f"skipped{ending_of(path) or ' (no ending)'}"


def _local(source_uri: str, settings: ServiceSettings) -> list[Source]:
    if settings.import_root is None:
        raise Invalid(
            "FILE_URIS_OFF", "this platform takes no file:// sources; upload instead", field="source_uri"
        )
    root = settings.import_root.resolve()
    path = Path(unquote(urlparse(source_uri).path)).resolve()
    if not path.is_relative_to(root):
        raise Invalid(
            "OUTSIDE_IMPORT_ROOT",
            f"{source_uri} is not under the folder opened for imports",
            field="source_uri",
        )
    if not path.exists():
        raise NotFound("SOURCE_NOT_FOUND", f"{source_uri} does not exist", resource=source_uri)
    files = (
        [path]
        if path.is_file()
        else [p for p in path.rglob("*") if p.is_file() and p.resolve().is_relative_to(root)]
    )
    base = path.parent if path.is_file() else path
    return [Source(file.relative_to(base).as_posix(), file.stat().st_size, file=file) for file in files]


async def _s3(source_uri: str, settings: ServiceSettings) -> AsyncIterator[Source]:
    storage, key = open_uri(source_uri, settings)
    async for found in storage.list(key):
        if found.key == key or found.key.startswith(key.rstrip("/") + "/") or not key:
            path = found.key[len(key) :].lstrip("/") or PurePosixPath(found.key).name
            yield Source(path, found.size_bytes, storage=storage, key=found.key)
