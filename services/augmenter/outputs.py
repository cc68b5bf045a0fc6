"""What models wrote, kept per project under a digest of all that it depends on: the same is never asked twice.

An attempt after a crash, another dataset with mostly the same documents, other strategies beside the same ones: each
asks for what is missing. Batches of outputs are objects; a row for each prompt says where its output lies. Fewer rows than
outputs name an object where the same was kept twice, and none where its writer was killed: `Forgetting` finds both.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from servicekit.database import Database, metadata
from servicekit.errors import NotFound
from servicekit.failpoints import failpoint
from servicekit.storage import Storage
from servicekit.task import LostLease, Task
from services.augmenter.sights import Sight, keep_in

FORM = "outputs/1"  # raised when the same digest would mean another output
ASKED = 500  # digests of one query
READ_AT_ONCE = 16  # objects
Place = sa.Row[tuple[str, str, int, str]]

table = sa.Table(
    "augmenter_output",
    metadata,
    sa.Column("project", sa.String(127), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("storage_key", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("made_for", sa.String(255), nullable=False),  # the dataset whose derivation asked
)


@dataclass(frozen=True)
class Output:
    """`usage`: its share of new, cached and written tokens, FLOPs and seconds of the call that wrote it."""

    text: str
    usage: tuple[float, ...]
    made_for: str


def digest_of(*depends_on: object) -> str:
    content = json.dumps([FORM, *depends_on], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def new_key(project: str, count: int) -> str:
    """Of an object with so many outputs. Its name tells them, so that nobody reads it to learn whether rows name all of them."""
    return f"{project}/outputs/{secrets.token_hex(12)}-{count}.json"


def count_in(key: str) -> int:
    """As `new_key` was told; -1 where an earlier release made the key."""
    _, dash, count = key.removesuffix(".json").rpartition("/")[2].partition("-")
    return int(count) if dash else -1


class Outputs:
    def __init__(self, database: Database, storage: Storage, project: str) -> None:
        self._database = database
        self._storage = storage
        self._project = project

    async def find(self, digests: Sequence[str]) -> dict[str, Output]:
        """Those that are there."""
        by_object: dict[str, list[Place]] = {}
        for place in await self._all_places(digests):
            by_object.setdefault(place.storage_key, []).append(place)
        found: dict[str, Output] = {}
        at_once = asyncio.Semaphore(READ_AT_ONCE)

        async def read(key: str, inside: list[Place]) -> None:
            async with at_once:
                try:
                    entries = json.loads(await self._storage.get(key))
                except NotFound:  # somebody emptied the bucket: it is asked for again
                    return
            for place in inside:
                text, usage = entries[place.position]
                found[place.digest] = Output(text, tuple(usage), place.made_for)

        await asyncio.gather(*(read(key, inside) for key, inside in by_object.items()))
        return found

    async def which(self, digests: Sequence[str]) -> set[str]:
        """Those that are there, by the rows alone: for an estimate."""
        return {place.digest for place in await self._all_places(digests)}

    async def keep(
        self,
        made_for: str,
        written: Mapping[str, tuple[str, Sequence[float]]],
        seen: Mapping[str, Sight | None] | None = None,
        may_write_in: Callable[[sa.Connection], None] = lambda connection: None,
    ) -> None:
        """A batch: digest -> text and usage. The object first, so that a row never names what is not there. `seen`: the
        documents that each prompt had in sight; outputs without them go with whatever document is withdrawn. `may_write_in` raises
        LostLease where the operation that asked is another's by now, or has ended: nothing is kept then."""
        key = new_key(self._project, len(written))
        entries = [[text, list(usage)] for text, usage in written.values()]
        await self._storage.put(key, json.dumps(entries, ensure_ascii=False).encode())
        failpoint("augmenter.after_object")
        rows = [
            {
                "project": self._project,
                "digest": digest,
                "storage_key": key,
                "position": position,
                "made_for": made_for,
            }
            for position, digest in enumerate(written)
        ]
        known = {digest: sight for digest, sight in (seen or {}).items() if sight}

        def keep(connection: sa.Connection) -> None:
            may_write_in(connection)
            self._upsert(connection, rows)
            keep_in(connection, self._project, known, self._database.is_sqlite)

        try:
            await self._database.run(keep)
        except LostLease:
            await self._storage.delete(key)
            raise
        failpoint("augmenter.after_batch")

    async def _all_places(self, digests: Sequence[str]) -> list[Place]:
        wanted = list(dict.fromkeys(digests))
        return [
            place
            for start in range(0, len(wanted), ASKED)
            for place in await self._places(wanted[start : start + ASKED])
        ]

    async def _places(self, digests: Iterable[str]) -> Sequence[Place]:
        query = sa.select(table.c.digest, table.c.storage_key, table.c.position, table.c.made_for).where(
            table.c.project == self._project, table.c.digest.in_(list(digests))
        )
        return await self._database.run(lambda connection: connection.execute(query).all())

    def _upsert(self, connection: sa.Connection, rows: list[dict[str, object]]) -> None:
        """Of two that wrote the same at once the later stays; both are as good."""
        dialect = sqlite if self._database.is_sqlite else postgresql
        insert = dialect.insert(table)
        changed = {name: insert.excluded[name] for name in ("storage_key", "position", "made_for")}
        connection.execute(
            insert.on_conflict_do_update(index_elements=["project", "digest"], set_=changed), rows
        )


class InOrder:
    """Keeps outputs of one derivation, the first of a context before all others of it. What reading the context took is a part of
    the first one's usage, and an attempt that finds any output of a context takes its reading for counted. Nothing is kept of an attempt that
    is over: documents that it read may have been withdrawn since."""

    def __init__(self, outputs: Outputs, task: Task) -> None:
        self._outputs = outputs
        self._task = task
        self._first: dict[str, asyncio.Task[None]] = {}

    def keep(
        self,
        context: str | None,
        written: Mapping[str, tuple[str, Sequence[float]]],
        seen: Mapping[str, Sight | None],
    ) -> asyncio.Task[None]:
        """Under way as in `Outputs.keep`; which is the first is decided by the order of these calls."""
        first = None if context is None else self._first.get(context)
        keeping = asyncio.create_task(self._keep(first, written, seen))
        if context is not None:
            self._first.setdefault(context, keeping)
        return keeping

    async def _keep(
        self,
        first: asyncio.Task[None] | None,
        written: Mapping[str, tuple[str, Sequence[float]]],
        seen: Mapping[str, Sight | None],
    ) -> None:
        if first is not None:
            await asyncio.wait([first])
        await self._outputs.keep(self._task.target, written, seen, self._task.write_in)
