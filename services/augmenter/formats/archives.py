"""Archives -> files under names of our own in a folder of our own: what an archive calls them is only told."""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from zlib import error as ZlibError

from services.augmenter.formats.bounds import FREE_BYTES, Bounds, Refused
from services.augmenter.formats.endings import family_of

_CHUNK_BYTES = 1 << 18
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, ZlibError, EOFError, OSError, ValueError)


class Member(NamedTuple):
    """A file that was unpacked, or that would be. `file` is its name in the folder."""

    path: str
    file: str
    size_bytes: int


class Left(NamedTuple):
    """A file that was not, and why."""

    path: str
    reason: str


def unpacked(
    file: Path, family: str, path: str, into: Path | None, bounds: Bounds
) -> Iterator[Member | Left]:
    """In the archive's order; what nobody reads stays in it. `into` None only lists.

    Refused: ENCRYPTED, BROKEN_FILE, NOT_ITS_ENDING, TOO_MANY_FILES, ARCHIVE_BOMB; what came before stands.
    """
    if family == "compressed" and into is None:
        yield Member(_inner(path), "", file.stat().st_size)  # only unpacking tells how long it is
        return
    unpacking = _Unpacking(file, into, bounds)
    try:
        yield from {"zip": _zip, "tar": _tar, "compressed": _compressed}[family](file, path, unpacking)
    except NotImplementedError as error:
        raise Refused("BROKEN_FILE", f"is packed in a way that nobody unpacks: {error}") from None
    except _BROKEN as error:
        raise Refused("BROKEN_FILE", f"is broken: {str(error) or type(error).__name__}") from None


class _Unpacking:
    def __init__(self, file: Path, into: Path | None, bounds: Bounds) -> None:
        self.packed_bytes = file.stat().st_size
        self.into = into
        self.bounds = bounds
        self.total_bytes = 0
        self.count = 0
        self.paths: set[str] = set()

    def counted(self) -> None:
        self.count += 1
        if self.count > self.bounds.most_files:
            raise Refused("TOO_MANY_FILES", f"holds more than {self.bounds.most_files} files")

    def refusal(self, path: str) -> str:
        """Why the file is left in the archive; nothing where it is not."""
        if path.startswith("/") or ".." in PurePosixPath(path).parts or ":" in path.partition("/")[0]:
            return "unsafe path"
        if any(part.startswith(".") for part in path.split("/")) or path.startswith("__MACOSX/"):
            return "hidden"
        if path in self.paths:
            return "repeated name"
        self.paths.add(path)
        return ""

    def taken(self, path: str, opened: IO[bytes] | None, told_bytes: int) -> Member:
        if self.into is None or opened is None:
            return Member(path, "", told_bytes)
        name = f"{self.count:06d}"
        size = 0
        with (self.into / name).open("wb") as target:
            while chunk := opened.read(_CHUNK_BYTES):
                size += len(chunk)
                self._grown(len(chunk))
                target.write(chunk)
        return Member(path, name, size)

    def _grown(self, size: int) -> None:
        """What headers say of sizes is not believed."""
        self.total_bytes += size
        if self.total_bytes > self.bounds.most_bytes:
            raise Refused("ARCHIVE_BOMB", f"unpacks to more than {self.bounds.most_bytes} bytes")
        if self.total_bytes > FREE_BYTES and self.total_bytes > self.bounds.most_ratio * self.packed_bytes:
            raise Refused(
                "ARCHIVE_BOMB",
                f"unpacks to more than {self.bounds.most_ratio} times its {self.packed_bytes} bytes",
            )


def _zip(file: Path, path: str, unpacking: _Unpacking) -> Iterator[Member | Left]:
    if not zipfile.is_zipfile(file):
        raise Refused("NOT_ITS_ENDING", "is no zip archive by its content")
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            unpacking.counted()
            inner = info.filename.replace("\\", "/").removeprefix("./")
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                yield Left(inner, "link")
            elif why := unpacking.refusal(inner):
                yield Left(inner, why)
            elif info.flag_bits & 1:
                yield Left(inner, "encrypted")
            elif family_of(inner) is None:
                yield Member(inner, "", 0)
            else:
                with archive.open(info) as opened:
                    yield unpacking.taken(inner, opened, info.file_size)


def _tar(file: Path, path: str, unpacking: _Unpacking) -> Iterator[Member | Left]:
    try:
        archive = tarfile.open(file)  # noqa: SIM115 - closed below
    except tarfile.ReadError:
        raise Refused("NOT_ITS_ENDING", "is no tar archive by its content") from None
    with archive:
        for info in archive:
            if info.isdir():
                continue
            unpacking.counted()
            inner = info.name.removeprefix("./")
            if not info.isreg():
                yield Left(inner, "link" if info.issym() or info.islnk() else "no file")
            elif why := unpacking.refusal(inner):
                yield Left(inner, why)
            elif family_of(inner) is None:
                yield Member(inner, "", 0)
            else:
                yield unpacking.taken(inner, archive.extractfile(info), info.size)


def _compressed(file: Path, path: str, unpacking: _Unpacking) -> Iterator[Member | Left]:
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[PurePosixPath(path.lower()).suffix]
    unpacking.counted()
    with opener(file, "rb") as opened:
        yield unpacking.taken(_inner(path), opened, 0)  # type: ignore[arg-type]


def _inner(path: str) -> str:
    """`notes/a.txt.gz` holds `notes/a.txt`."""
    return path[: -len(PurePosixPath(path).suffix)]
