"""One platform for all end-to-end tests: every service its own process, a real Ray, a real model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import platform as local


@pytest.fixture(scope="session")
def import_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the platform under test takes `file://` sources."""
    return tmp_path_factory.mktemp("imports")


@pytest.fixture(scope="session")
def platform_address(tmp_path_factory: pytest.TempPathFactory, import_root: Path) -> Iterator[str]:
    variables = {"INGRAIN_IMPORT_ROOT": str(import_root)}
    with local.platform(tmp_path_factory.mktemp("platform"), variables) as address:
        yield address
