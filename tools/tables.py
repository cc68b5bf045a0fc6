"""The tables of this release as statements, for the test that later ones start on them: `python -m tools.tables`.

Writes tests/golden/tables/<version>-<database>.sql. Once for a release, when it is made; never again after that.
"""

import importlib
import tomllib
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from servicekit import tables
from servicekit.database import metadata

ROOT = Path(__file__).parents[1]


def main() -> None:
    load_services()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for dialect in (postgresql.dialect(), sqlite.dialect()):
        path = ROOT / "tests" / "golden" / "tables" / f"{version}-{dialect.name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(statements(dialect))
        print(path.relative_to(ROOT))


def load_services() -> None:
    """So that `metadata` holds the tables of all services."""
    assert tables.resource.metadata is metadata
    for path in sorted((ROOT / "services").rglob("*.py")):
        if "sa.Table(" in path.read_text():
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def statements(dialect: sa.Dialect) -> str:
    """Makes every table and index, in the dialect's own words."""
    written: list[sa.schema.ExecutableDDLElement] = []
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        written.append(sa.schema.CreateTable(table))
        written.extend(sa.schema.CreateIndex(i) for i in sorted(table.indexes, key=lambda i: str(i.name)))
    lines = "".join(f"{str(one.compile(dialect=dialect)).strip()};\n" for one in written)
    return "\n".join(line.rstrip().replace("\t", "  ") for line in lines.splitlines()) + "\n"


if __name__ == "__main__":
    main()
