"""The verdict in a pod's status: a line that Kubernetes shows whole, whatever happened."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain.cli import ending


@pytest.fixture
def verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setenv(ending.VERDICT_VARIABLE, str(path))
    return path


def test_what_is_short_stays_as_it_is(verdict: Path) -> None:
    ending.tell("below", 6, verdict="reversal 0.7 is below 0.8", values={"reversal": 0.7}, message="")
    assert json.loads(verdict.read_text()) == {
        "status": "below",
        "exit_code": 6,
        "verdict": "reversal 0.7 is below 0.8",
        "values": {"reversal": 0.7},
    }


@pytest.mark.parametrize(
    "more",
    [
        {"message": "x" * 100_000},
        {f"value{i}": "x" * 700 for i in range(9)},
        {f"value{i}": "😀" * 599 for i in range(9)},
        {"values": {f"kind{i}": 0.5 for i in range(2_000)}, "verdict": "\x00" * 5_000},
        {f"value{i}": "x" for i in range(2_000)},
        {"message": "/data/\udcff" * 2_000},
    ],
    ids=["one long", "many", "of four bytes", "many kinds", "too many", "no UTF-8"],
)
def test_the_whole_line_fits_and_can_be_read(verdict: Path, more: dict[str, Any]) -> None:
    ending.tell("failed", 4, operation="projects/default/models/m/operations/o", **more)
    written = verdict.read_bytes()
    assert 1 < len(written) <= 4096
    told = json.loads(written)
    assert (told["status"], told["exit_code"]) == ("failed", 4)
    if len(more) < 10:
        assert told["operation"] == "projects/default/models/m/operations/o"
        assert all(told[name] for name in more)
