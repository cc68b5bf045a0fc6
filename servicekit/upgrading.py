"""Tables as this release defines them, out of those that are there: what can be added is added, all else is refused.

Releases run side by side while one takes the other's place, and the older one comes back when somebody rolls back. So
a release only adds: tables, indexes that are not unique, and columns that may be empty or have a default of the
database's own. An older release goes on over such tables and keeps what it does not know
(docs/decisions/0012-tables-only-grow.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import sqlalchemy as sa

from servicekit.errors import Unavailable, WrongState

T = TypeVar("T")
# Whoever waits for a table keeps all behind it waiting too: better to give up, and to start again.
LOCK_TIMEOUT_S = 5.0
_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's


@dataclass(frozen=True)
class Found:
    """A table as the database has it."""

    columns: dict[str, Any]  # as SQLAlchemy's inspector tells them, by name
    primary_key: tuple[str, ...]
    uniques: frozenset[frozenset[str]]
    indexes: dict[str, tuple[str | None, ...]]


def missing(connection: sa.Connection, metadata: sa.MetaData, schema: str | None) -> list[sa.Table]:
    """Makes tables that are not there, and gives those of the others that lack a column or an index.

    WrongState TABLE_CHANGED where a table differs otherwise; nothing is made then, as the transaction ends.
    """
    metadata.create_all(connection)
    tables = metadata.sorted_tables
    found = _inspect(connection, [table.name for table in tables], schema)
    reasons = [reason for table in tables for reason in _refusals(table, found[table.name], connection)]
    if reasons:
        raise WrongState(
            "TABLE_CHANGED",
            "this release cannot work on the tables that are there: "
            + "; ".join(reasons)
            + ". Nothing was changed. Run the release that was there before, or change the table by hand "
            "(docs/operations.md, Upgrade)",
        )
    return [table for table in tables if any(_additions(table, found[table.name], connection))]


def add(connection: sa.Connection, table: sa.Table, schema: str | None) -> None:
    """Adds columns and indexes that `table` still lacks. Unavailable where somebody keeps it locked."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(LOCK_TIMEOUT_S * 1000)}")
    found = _inspect(connection, [table.name], schema)[table.name]
    try:
        for statement in _additions(table, found, connection):
            connection.exec_driver_sql(statement)
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
            raise
        raise Unavailable(
            "TABLE_BUSY",
            f"a transaction that does not end, such as a dump, keeps table {table.name} from getting a new column or "
            "index; start again when it has ended",
        ) from error


def known(kind: type[T], kept: Mapping[str, Any]) -> T:
    """A dataclass of what a row keeps as JSON. What a newer release wrote beside is left out."""
    return kind(**{one.name: kept[one.name] for one in fields(kind) if one.name in kept})  # type: ignore[arg-type]


def _inspect(connection: sa.Connection, names: list[str], schema: str | None) -> dict[str, Found]:
    inspector = sa.inspect(connection)
    more: dict[str, Any] = {"schema": schema, "filter_names": names}
    columns = inspector.get_multi_columns(**more)
    keys = inspector.get_multi_pk_constraint(**more)
    uniques = inspector.get_multi_unique_constraints(**more)
    indexes = inspector.get_multi_indexes(**more)
    found = {}
    for name in names:
        unique: list[list[Any]] = [one["column_names"] for one in uniques[schema, name]]
        unique += [one["column_names"] for one in indexes[schema, name] if one["unique"]]
        found[name] = Found(
            {column["name"]: column for column in columns[schema, name]},
            tuple(keys[schema, name]["constrained_columns"]),
            frozenset(frozenset(str(column) for column in one) for one in unique),
            {str(one["name"]): tuple(one["column_names"]) for one in indexes[schema, name]},
        )
    return found


def _additions(table: sa.Table, found: Found, connection: sa.Connection) -> Iterator[str]:
    """The statements that give the table what it lacks, of what can be added."""
    dialect = connection.dialect
    for column in table.columns:
        if column.name not in found.columns:
            written = sa.schema.CreateColumn(column).compile(dialect=dialect)
            yield f"ALTER TABLE {dialect.identifier_preparer.format_table(table)} ADD COLUMN {written}"
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if index.name not in found.indexes:
            yield str(sa.schema.CreateIndex(index).compile(dialect=dialect))


def _refusals(table: sa.Table, found: Found, connection: sa.Connection) -> Iterator[str]:
    """What is neither as defined nor can be added, in words that name it and say what would help."""
    key = tuple(column.name for column in table.primary_key.columns)
    if set(key) != set(found.primary_key):
        yield f"the primary key of table {table.name} is {_listed(found.primary_key)}, and this release needs {_listed(key)}"
    for column in table.columns:
        name = f"column {column.name} of table {table.name}"
        there = found.columns.get(column.name)
        if there is None:
            if not column.nullable and column.server_default is None:
                yield f"{name} is not there and must not be empty, so that rows of before would have no value; add it by hand with one"
            continue
        if not _fits(column.type.dialect_impl(connection.dialect), there["type"], connection):
            yield f"{name} is {there['type']}, and this release needs {column.type.compile(connection.dialect)}; change its type"
        if there["nullable"] and not column.nullable:
            yield f"{name} may be empty, and for this release it must not; fill it, then SET NOT NULL"
        if column.server_default is not None and there.get("default") is None:
            yield f"{name} has no default, and this release leaves it to the database; SET DEFAULT"
        if column.nullable and not there["nullable"]:
            yield f"{name} must not be empty, and this release leaves it so; DROP NOT NULL"
    for other, there in found.columns.items():
        if other not in table.columns and _needs_value(there):
            yield (
                f"column {other} of table {table.name} is not known to this release, which would leave it empty, and must not "
                "be empty; SET DEFAULT or DROP NOT NULL"
            )
    for columns in sorted(_uniques(table) ^ found.uniques, key=sorted):
        is_new = columns in _uniques(table)
        yield f"{_listed(columns)} of table {table.name} " + (
            "must be unique for this release; add the constraint by hand"
            if is_new
            else "must be unique in the database, and not for this release; drop the constraint"
        )
    for index in table.indexes:
        wanted = tuple(column.name for column in index.columns)
        if found.indexes.get(str(index.name), wanted) != wanted:
            yield f"index {index.name} of table {table.name} is over other columns than {_listed(wanted)}; drop it"


def _uniques(table: sa.Table) -> frozenset[frozenset[str]]:
    constraints = [one.columns for one in table.constraints if isinstance(one, sa.UniqueConstraint)]
    unique = [*constraints, *(index.columns for index in table.indexes if index.unique)]
    return frozenset(frozenset(column.name for column in columns) for columns in unique)


def _needs_value(column: dict[str, Any]) -> bool:
    filled = column.get("default") is not None or column.get("identity") or column.get("computed")
    return not column["nullable"] and not filled


def _fits(
    wanted: sa.types.TypeEngine[Any], there: sa.types.TypeEngine[Any], connection: sa.Connection
) -> bool:
    """Whether what is there holds all that the definition's type does; wider is right, for a release that is rolled back to."""
    try:
        if wanted.python_type is not there.python_type:
            return False
    except NotImplementedError:  # a type that SQLAlchemy does not know
        return False
    if connection.dialect.name == "sqlite":  # keeps to no lengths
        return True
    if isinstance(wanted, sa.String) and isinstance(there, sa.String):
        return there.length is None or (wanted.length is not None and wanted.length <= there.length)
    if isinstance(wanted, sa.Integer) and isinstance(there, sa.Integer):
        return _integer_bytes(wanted) <= _integer_bytes(there)
    return True


def _integer_bytes(kind: sa.Integer) -> int:
    if isinstance(kind, sa.SmallInteger):
        return 2
    return 8 if isinstance(kind, sa.BigInteger) else 4


def _listed(columns: Any) -> str:
    return "(" + ", ".join(sorted(columns)) + ")"
