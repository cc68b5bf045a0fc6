"""Resources: protobuf messages by name, in one table per service."""

import base64
import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from servicekit.database import Database
from servicekit.errors import AlreadyExists, Invalid
from servicekit.identity import not_found
from servicekit.tables import resource

M = TypeVar("M", bound=Message)
DEFAULT_PAGE, GREATEST_PAGE = 50, 1000


class Resources(Generic[M]):
    """The resources of one collection. Methods ending in `_in` work in a caller's transaction."""

    def __init__(self, database: Database, message_type: type[M], collection: str) -> None:
        self.database = database
        self.message_type = message_type
        self.collection = collection

    async def get(self, name: str) -> M:
        return await self.database.run(lambda connection: self.get_in(connection, name))

    async def list(self, parent: str, page_size: int = 0, page_token: str = "") -> tuple[list[M], str]:
        """Newest first, and the token of the next page (empty at the end)."""
        if page_size < 0:
            raise Invalid(
                "BAD_PAGE_SIZE", f"page_size is {page_size}; it must not be negative", field="page_size"
            )
        size = min(page_size or DEFAULT_PAGE, GREATEST_PAGE)
        query = (
            sa.select(resource.c.sequence, resource.c.body)
            .where(
                resource.c.parent == parent,
                resource.c.collection == self.collection,
                resource.c.deleted.is_(None),
            )
            .order_by(resource.c.sequence.desc())
            .limit(size + 1)
        )
        if page_token:
            query = query.where(resource.c.sequence < decode_token(page_token))
        rows = await self.database.run(lambda connection: connection.execute(query).all())
        token = encode_token(rows[size - 1].sequence) if len(rows) > size else ""
        return [self.message_type.FromString(row.body) for row in rows[:size]], token

    async def insert(self, message: M, request_id: str = "", request_sha256: str = "") -> M:
        """For resources that need no operation. The same `request_id` with the same digest gives the first one."""
        return await self.database.run(lambda c: self.insert_in(c, message, request_id, request_sha256))

    async def update(self, name: str, change: Callable[[M], None]) -> M:
        def update(connection: sa.Connection) -> M:
            message = self.get_in(connection, name, lock=True)
            change(message)
            self.replace_in(connection, message)
            return message

        return await self.database.run(update)

    async def delete(self, name: str) -> None:
        """Hides it; the name stays taken, so that a new resource is never mistaken for it."""

        def delete(connection: sa.Connection) -> None:
            self.get_in(connection, name)
            connection.execute(
                resource.update().where(resource.c.name == name).values(deleted=self.database.now())
            )

        await self.database.run(delete)

    def get_in(
        self, connection: sa.Connection, name: str, *, lock: bool = False, deleted_too: bool = False
    ) -> M:
        """`lock` keeps others from changing it until the transaction ends (SQLite's transactions do so anyhow)."""
        query = sa.select(resource.c.body).where(resource.c.name == name)
        if not deleted_too:
            query = query.where(resource.c.deleted.is_(None))
        if lock and not self.database.is_sqlite:
            query = query.with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            raise not_found(name)
        return self.message_type.FromString(row.body)

    def is_deleted_in(self, connection: sa.Connection, name: str) -> bool:
        deleted = connection.execute(sa.select(resource.c.deleted).where(resource.c.name == name)).scalar()
        return deleted is not None

    def insert_in(
        self, connection: sa.Connection, message: M, request_id: str = "", request_sha256: str = ""
    ) -> M:
        name: str = message.name  # type: ignore[attr-defined]
        parent = name.rpartition(f"{self.collection}/")[0].rstrip("/")
        if request_id and (earlier := self._by_request(connection, parent, request_id, request_sha256)):
            return earlier
        if connection.execute(sa.select(resource.c.name).where(resource.c.name == name)).one_or_none():
            raise AlreadyExists(
                "NAME_TAKEN", f"{name} exists already (or did); choose another id", resource=name
            )
        connection.execute(
            resource.insert().values(
                name=name,
                collection=self.collection,
                parent=parent,
                body=message.SerializeToString(),
                request_id=request_id or None,
                request_sha256=request_sha256 or None,
                created=self.database.now(),
            )
        )
        return message

    def replace_in(self, connection: sa.Connection, message: M) -> None:
        name = message.name  # type: ignore[attr-defined]
        connection.execute(
            resource.update().where(resource.c.name == name).values(body=message.SerializeToString())
        )

    def _by_request(self, connection: sa.Connection, parent: str, request_id: str, sha256: str) -> M | None:
        row = connection.execute(
            sa.select(resource.c.body, resource.c.request_sha256).where(
                resource.c.parent == parent,
                resource.c.collection == self.collection,
                resource.c.request_id == request_id,
            )
        ).one_or_none()
        if row is None:
            return None
        if row.request_sha256 != sha256:
            raise request_id_reused(request_id)
        return self.message_type.FromString(row.body)


def request_id_reused(request_id: str) -> Invalid:
    return Invalid(
        "REQUEST_ID_REUSED",
        f"request_id {request_id} was used before with another request; take a new UUID for a new request",
        field="request_id",
        request_id=request_id,
    )


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(6)}"


def encode_token(sequence: int) -> str:
    return base64.urlsafe_b64encode(str(sequence).encode()).decode()


def decode_token(token: str) -> int:
    try:
        sequence = int(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        sequence = 0
    if not 0 < sequence < 1 << 63 or token != encode_token(sequence):
        raise Invalid("BAD_PAGE_TOKEN", "page_token is not one that a list returned", field="page_token")
    return sequence
