"""Files -> rows: what can be read is read, what cannot is counted by name and reason, or refused where it is all there is."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from servicekit.errors import Invalid
from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.formats.endings import ARCHIVES, DOCUMENTS, TABLES, ending_of, family_of
from services.augmenter.formats.parser import Parser
from services.augmenter.intake import lines_of
from services.augmenter.rows import Row
from services.augmenter.settings import AugmenterSettings
from services.augmenter.sources import Source, skipped_by_ending

_NAMED = 100  # files that a dataset's counts name for each reason; the others are counted together


def bounds_of(settings: AugmenterSettings) -> Bounds:
    return Bounds(
        most_files=settings.import_files,
        most_bytes=settings.import_bytes,
        most_file_bytes=settings.import_file_bytes,
        most_characters=settings.import_characters,
        most_ratio=settings.import_ratio,
        most_depth=settings.import_depth,
        most_pages=settings.import_pages,
        most_s=settings.import_file_s,
        most_memory_bytes=settings.import_memory_bytes,
    )


class Reading:
    """One import. `counts` is filled as files are read; `field` is the request's that named them, `room` the
    parsers'."""

    def __init__(
        self, bounds: Bounds, counts: Counter[str], field: str, room: asyncio.Semaphore | None = None
    ) -> None:
        self.bounds = bounds
        self.counts = counts
        self.field = field
        self.parser = Parser(bounds, room=room)
        self._named = Counter[str]()

    async def rows(self, sources: Sequence[Source]) -> AsyncIterator[Row | bytes]:
        """In the order of the files. JSONL lines as they are. Invalid with the file's path for a file that cannot be
        read and is alone, or where nothing at all could be read."""
        found = False
        with tempfile.TemporaryDirectory(prefix="ingrain-import-") as folder:
            async with self.parser:
                for source in sources:
                    async for row in self._rows(source, Path(folder), len(sources) == 1, 0):
                        found = True
                        yield row
        if not found:
            raise self._nothing()

    async def survey(self, sources: Sequence[Source]) -> list[str]:
        """What would be read, a sentence each; archives are looked into, no document is parsed."""
        files, sizes = Counter[str](), Counter[str]()
        with tempfile.TemporaryDirectory(prefix="ingrain-import-") as folder:
            async with self.parser:
                for source in sources:
                    inside = [source]
                    if _family(source) in ARCHIVES:
                        inside = await self._listed(source, Path(folder), len(sources) == 1)
                    for file in inside:
                        files[ending_of(file.path)] += 1
                        sizes[ending_of(file.path)] += file.size_bytes
        total = sum(sizes.values())
        return [
            f"{sum(files.values())} files with {total} bytes would be read",
            *(f"{count} {ending}: {sizes[ending]} bytes" for ending, count in files.most_common()),
            *(f"{count} {what}" for what, count in self.counts.items()),
        ]

    async def _rows(
        self, source: Source, folder: Path, alone: bool, depth: int
    ) -> AsyncIterator[Row | bytes]:
        family, ending, yielded = _family(source), ending_of(source.path), False
        if family == "jsonl":
            self.counts[f"files {ending}"] += 1
            async for line in lines_of(source.chunks()):
                yield line
            return
        try:
            self._refuse_large(source, family)
            async with source.fetched(folder) as file:
                if family in ARCHIVES:
                    async for row in self._unpacked(source, file, folder, alone, depth):
                        yield row
                    return
                async for frame in self.parser.frames(file, source.path, family):
                    for row in frame["rows"]:
                        yielded = True
                        yield row
                    if family in TABLES:
                        self.counts[f"rows from {ending}"] += len(frame["rows"])
                        self._skip_empty(frame["empty"], f"rows of {source.path}")
        except Refused as refused:
            # Rows of a table that breaks in its middle are gone out already.
            self._refuse(source.path, refused, alone or yielded)
            return
        if family in TABLES:
            self.counts[f"files {ending}"] += 1
        elif yielded:
            self.counts[f"documents from {ending}"] += 1
        else:
            self.counts["skipped empty files"] += 1

    def _refuse_large(self, source: Source, family: str) -> None:
        """Before it is fetched."""
        most = self.bounds.most_file_bytes if family in DOCUMENTS else self.bounds.most_bytes
        if source.size_bytes > most:
            raise Refused(
                "TOO_LARGE", f"has {source.size_bytes} bytes; at most {most} are read of such a file"
            )

    async def _unpacked(
        self, source: Source, file: Path, folder: Path, alone: bool, depth: int
    ) -> AsyncIterator[Row | bytes]:
        if depth >= self.bounds.most_depth:
            self._refuse(source.path, Refused("NESTED_ARCHIVE", "is an archive inside of an archive"), False)
            return
        family = _family(source)
        with tempfile.TemporaryDirectory(dir=folder) as inner:
            members = [
                Source(path, size, file=Path(inner) / name)
                for path, name, size in await self._members(source, file, family, Path(inner), alone)
            ]
            if family != "compressed":
                self.counts[f"archives {ending_of(source.path)}"] += 1
            for member in sorted(members, key=lambda member: member.path):
                only = alone and len(members) == 1
                async for row in self._rows(member, Path(inner), only, depth + 1):
                    yield row

    async def _listed(self, source: Source, folder: Path, alone: bool) -> list[Source]:
        try:
            self._refuse_large(source, _family(source))
            async with source.fetched(folder) as file:
                members = await self._members(source, file, _family(source), None, alone)
        except Refused as refused:
            self._refuse(source.path, refused, alone)
            return []
        return [Source(path, size) for path, _, size in members]

    async def _members(
        self, source: Source, file: Path, family: str, into: Path | None, alone: bool
    ) -> list[tuple[str, str, int]]:
        """Path, name in `into` and size of what can be read in the archive; the rest is counted."""
        members = []
        before = "" if alone or family == "compressed" else f"{source.path}/"
        async for frame in self.parser.frames(file, source.path, family, into):
            if "left" in frame:
                path, reason = frame["left"]
                self._skip(f"{before}{path}", reason)
                continue
            path, name, size = frame["member"]
            if family_of(path) is None:
                self.counts[skipped_by_ending(path)] += 1
            else:
                members.append((f"{before}{path}", name, size))
            await asyncio.sleep(0)
        return members

    def _refuse(self, path: str, refused: Refused, whole: bool) -> None:
        if whole:
            raise Invalid(refused.reason, f"{path} {refused.why}", field=self.field, path=path)
        self._skip(path, refused.reason.lower().replace("_", " "))

    def _skip(self, path: str, reason: str) -> None:
        self._named[reason] += 1
        shown = path if self._named[reason] <= _NAMED else "others"
        self.counts[f"skipped {reason}: {shown}"] += 1

    def _skip_empty(self, count: int, of: str) -> None:
        if count:
            self.counts[f"skipped empty: {of}"] += count

    def _nothing(self) -> Invalid:
        skipped = {what: n for what, n in self.counts.items() if what.startswith("skipped")}
        if set(skipped) <= {"skipped empty files"}:
            return Invalid("EMPTY_DATASET", "the data set has no rows", field="rows")
        told = ", ".join(f"{what} ({n})" for what, n in list(skipped.items())[:10])
        return Invalid("NOTHING_TO_IMPORT", f"nothing could be read: {told}", field=self.field)


def _family(source: Source) -> str:
    family = family_of(source.path)
    assert family is not None, "find() and archives give what can be read"
    return family
