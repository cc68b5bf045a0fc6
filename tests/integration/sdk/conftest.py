import contextlib
import io
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from ingrain import Client
from ingrain.cli import main
from ingrain.testing import FakePlatform, operations

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
def waited(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set as soon as somebody waits for an operation; for platforms that begin after this."""
    begun, real = threading.Event(), operations.Operations.WaitOperation

    def wait(self: Any, request: Any, context: Any) -> Any:
        begun.set()
        return real(self, request, context)

    monkeypatch.setattr(operations.Operations, "WaitOperation", wait)
    return begun


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


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Standard error in one line: where it breaks depends on how long paths are."""
        return " ".join(self.stderr.split())


@pytest.fixture
def ingrain(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs the command line against the fake platform, without a terminal, in this process; tables unless told."""

    def run(*arguments: str, **variables: str) -> Ran:
        monkeypatch.delenv("INGRAIN_API_KEY", raising=False)
        fixed = {"INGRAIN_TARGET": platform.target, "INGRAIN_OUTPUT": "table"}
        for key, value in (fixed | variables).items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(sys, "argv", ["ingrain", *arguments])
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        return Ran(code, out.getvalue(), err.getvalue())

    return run
