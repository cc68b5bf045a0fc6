"""Which documents a prompt had in sight whose output is kept, so that outputs go with a document that is withdrawn.

Documents are told by the digests of their texts: the same text in another dataset asked for the same outputs. What many
prompts have in sight is told once.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from servicekit.database import metadata

LOOKED_FOR = 500  # digests of one query

sight_table = sa.Table(
    "augmenter_sight",
    metadata,
    sa.Column("project", sa.String(127), primary_key=True),
    sa.Column("document", sa.String(64), primary_key=True),
    sa.Column("sight", sa.String(64), primary_key=True),
    sa.Index("augmenter_sight_sight", "project", "sight"),
)
seen_table = sa.Table(
    "augmenter_output_sight",
    metadata,
    sa.Column("project", sa.String(127), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),  # of an output
    sa.Column("sight", sa.String(64), nullable=False),
    sa.Index("augmenter_output_sight_sight", "project", "sight"),
)


@dataclass(frozen=True)
class Sight:
    """`documents`: digests of their texts."""

    digest: str
    documents: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Sight":
        documents = tuple(dict.fromkeys(map(text_digest, texts)))
        return cls(text_digest(" ".join(documents)), documents)


def keep_in(connection: sa.Connection, project: str, sights: Mapping[str, Sight], is_sqlite: bool) -> None:
    """`sights`: by the digest of the output. What is known already stays."""
    insert = sqlite.insert if is_sqlite else postgresql.insert
    different = {sight.digest: sight for sight in sights.values()}
    documents = [
        {"project": project, "document": document, "sight": sight.digest}
        for sight in different.values()
        for document in sight.documents
    ]
    outputs = [
        {"project": project, "digest": digest, "sight": sight.digest} for digest, sight in sights.items()
    ]
    for table, rows in ((sight_table, documents), (seen_table, outputs)):
        if rows:
            connection.execute(insert(table).on_conflict_do_nothing(), rows)


def that_hold(connection: sa.Connection, project: str, documents: Sequence[str]) -> set[str]:
    """Digests of sights in which one of the documents is."""
    found: set[str] = set()
    for part in parts_of(documents):
        query = sa.select(sight_table.c.sight).where(
            sight_table.c.project == project, sight_table.c.document.in_(part)
        )
        found.update(connection.execute(query).scalars())
    return found


def forget_in(connection: sa.Connection, project: str, sights: Sequence[str]) -> None:
    for part in parts_of(sights):
        for table in (seen_table, sight_table):
            connection.execute(table.delete().where(table.c.project == project, table.c.sight.in_(part)))


def parts_of(digests: Sequence[str]) -> Iterable[Sequence[str]]:
    return (digests[start : start + LOOKED_FOR] for start in range(0, len(digests), LOOKED_FOR))


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
