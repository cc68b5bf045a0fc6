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
def platform_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platform")


@pytest.fixture(scope="session")
def platform_address(platform_folder: Path, import_root: Path) -> Iterator[str]:
    # Fits that cannot have their workers give up sooner than they would for a person.
    variables = {"INGRAIN_IMPORT_ROOT": str(import_root), "INGRAIN_RESOURCE_WAIT_S": "20"}
    with local.platform(platform_folder, variables) as address:
        yield address
