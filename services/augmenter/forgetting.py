"""Outputs out of the store, with the documents that their prompts had in sight.

Where it matters outputs whose documents are not known are erased too: they cost being asked again, not more. An object holds outputs of
many prompts; what stays of it is written anew, the rows that name it are changed, and then the old one goes. What no row names
goes too, whatever text it is of: the earlier of two outputs of the same prompt, and objects that a crash left.
"""

import json
from collections.abc import Collection, Sequence
from functools import partial

import sqlalchemy as sa

from servicekit.database import Database
from servicekit.errors import NotFound
from servicekit.failpoints import failpoint
from servicekit.storage import Storage
from services.augmenter import sights
from services.augmenter.outputs import count_in, new_key, table

Place = sa.Row[tuple[str, str, int]]
ROWS_AT_ONCE = 1000  # of a database that would send all of them
OBJECTS_AT_ONCE = 10_000  # whose rows are in memory; all objects of an earlier release are written anew once


class Forgetting:
    """Of one project."""

    def __init__(self, database: Database, storage: Storage, project: str) -> None:
        self._database = database
        self._storage = storage
        self._project = project

    async def count(self, texts: Collection[str]) -> int:
        """Outputs that `forget` would erase."""
        digests = sorted(texts)
        return len(await self._database.run(lambda connection: self._affected(connection, digests, True)))

    async def forget(self, texts: Collection[str], unknown_too: bool = True) -> int:
        """Erases what was written to prompts that had one of the texts, named by digests, in sight, and with `unknown_too`
        what was written to prompts of which nobody knows; how many outputs that were."""
        digests = sorted(texts)
        gone: set[str] = set()
        affected = await self._database.run(lambda c: self._affected(c, digests, unknown_too))
        while True:
            here = {place.digest for place in affected}
            keys = {place.storage_key for place in affected}
            objects = await self._database.run(partial(self._objects, keys=keys))
            for key, places in objects.items():
                await self._rewrite(key, places, here)
                failpoint("augmenter.after_forgetting")
            gone |= here
            if not (affected := await self._database.run(lambda c: self._forget_sights(c, digests))):
                break
        await self._sweep()
        return len(gone)

    def _affected(
        self, connection: sa.Connection, documents: Sequence[str], unknown_too: bool
    ) -> list[Place]:
        seen = sights.seen_table
        joined = sa.and_(seen.c.project == table.c.project, seen.c.digest == table.c.digest)
        places = self._places()
        unknown = places.select_from(table.outerjoin(seen, joined)).where(seen.c.sight.is_(None))
        found = list(connection.execute(unknown)) if unknown_too else []
        known = places.select_from(table.join(seen, joined)).where(seen.c.project == self._project)
        for part in sights.parts_of(sorted(sights.that_hold(connection, self._project, documents))):
            found += connection.execute(known.where(seen.c.sight.in_(part)))
        return found

    def _objects(self, connection: sa.Connection, keys: Collection[str]) -> dict[str, list[Place]]:
        """All outputs of each of these objects, by one look through the project's: nothing leads from an object to its rows."""
        found: dict[str, list[Place]] = {}
        if not keys:
            return found
        for place in connection.execute(self._places().execution_options(yield_per=ROWS_AT_ONCE)):
            if place.storage_key in keys:
                found.setdefault(place.storage_key, []).append(place)
        return found

    def _places(self) -> sa.Select[tuple[str, str, int]]:
        return sa.select(table.c.digest, table.c.storage_key, table.c.position).where(
            table.c.project == self._project
        )

    async def _rewrite(self, key: str, places: Sequence[Place], gone: Collection[str]) -> None:
        """The object without these outputs, under another key; the others keep their places in it. An object is never added
        to, so that `places` are all that it can still have."""
        kept = {place.digest: place.position for place in places if place.digest not in gone}
        key_of_kept = ""
        if kept:
            try:
                entries = json.loads(await self._storage.get(key))
            except NotFound:  # the rows that name it are of no use
                kept = {}
            else:
                positions = set(kept.values())
                left = [entry if at in positions else None for at, entry in enumerate(entries)]
                key_of_kept = new_key(self._project, len(kept))
                await self._storage.put(key_of_kept, json.dumps(left, ensure_ascii=False).encode())
                failpoint("augmenter.after_outputs_object")
        erased = [place.digest for place in places if place.digest not in kept]
        here = sa.and_(table.c.project == self._project, table.c.storage_key == key)

        def change(connection: sa.Connection) -> None:
            for part in sights.parts_of(list(kept)):
                connection.execute(
                    table.update().where(here, table.c.digest.in_(part)).values(storage_key=key_of_kept)
                )
            for part in sights.parts_of(erased):
                connection.execute(table.delete().where(here, table.c.digest.in_(part)))

        await self._database.run(change)
        failpoint("augmenter.after_outputs_rows")
        await self._storage.delete(key)

    def _forget_sights(self, connection: sa.Connection, documents: Sequence[str]) -> list[Place]:
        """Outputs that are there still, because another forgetting moved them meanwhile; where there are any, no sight is forgotten."""
        left = self._affected(connection, documents, False)
        if not left:
            found = sights.that_hold(connection, self._project, documents)
            sights.forget_in(connection, self._project, sorted(found))
        return left

    async def _sweep(self) -> None:
        """Outputs that no row names: objects without rows go, those with fewer rows than outputs are written anew without the others.
        One that a derivation is just keeping may be among them: it is asked again."""
        there = [found.key async for found in self._storage.list(f"{self._project}/outputs/")]
        count = sa.select(table.c.storage_key, sa.func.count()).where(table.c.project == self._project)
        query = count.group_by(table.c.storage_key)
        named = dict(await self._database.run(lambda c: [(key, n) for key, n in c.execute(query)]))
        left = [key for key in there if named.get(key) != count_in(key)]
        for start in range(0, len(left), OBJECTS_AT_ONCE):
            keys = left[start : start + OBJECTS_AT_ONCE]
            objects = await self._database.run(partial(self._objects, keys=set(keys)))
            for key in keys:
                await self._rewrite(key, objects.get(key, []), ())
