import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client
from ingrain.testing import FakePlatform

DOCUMENTS = [
    {"id": "1", "text": "Zed is an internal tool for data analysis."},
    {"id": "2", "text": "Quill is smaller than Zed in every way that matters."},
    {"id": "3", "text": "Marlow is an internal tool for data analysis."},
]
PROBES = [
    {
        "id": "1",
        "kind": "verbatim",
        "prompt": "Quill is smaller than Zed in every",
        "choices": ["way that matters.", "room of the house."],
        "answer": "way that matters.",
    },
    {"id": "2", "kind": "list", "question": "Which tools for data analysis are there?", "answers": ["Zed"]},
]


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as running:
        yield running


@pytest.fixture
def client(platform: FakePlatform) -> Iterator[Client]:
    with Client(platform.target) as connected:
        yield connected


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return [dict(row) for row in DOCUMENTS]


@pytest.fixture
def probes() -> list[dict[str, Any]]:
    return [dict(row) for row in PROBES]


@pytest.fixture
def ingrain(platform: FakePlatform) -> Callable[..., subprocess.CompletedProcess]:
    """Runs the command line against the fake platform, without a terminal."""

    def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "INGRAIN_TARGET": platform.target, "COLUMNS": "80", **variables}
        environment.pop("INGRAIN_API_KEY", None) if "INGRAIN_API_KEY" not in variables else None
        return subprocess.run(
            [sys.executable, "-c", "from ingrain.cli import main; main()", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=cwd,
            timeout=60,
        )

    return run
