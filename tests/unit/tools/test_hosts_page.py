"""The page across hosts shows what was measured, and what it says is so there."""

import json
from pathlib import Path

from tools.hosts import page
from tools.hosts.cases import CASES
from tools.hosts.sight import address, short

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_shows_what_was_measured(tmp_path: Path) -> None:
    found = json.loads((DOCS / "hosts.json").read_text())
    (tmp_path / "hosts.md").write_text((DOCS / "hosts.md").read_text())
    page.write(found, tmp_path)
    assert (tmp_path / "hosts.md").read_text() == (DOCS / "hosts.md").read_text()


def test_what_was_measured_is_equal_with_and_without_a_cut() -> None:
    found = json.loads((DOCS / "hosts.json").read_text())
    assert {case["id"] for case in found["cases"]} == {case.id for case in CASES}
    for case in found["cases"]:
        assert case["same"]
        assert case["cut"]["outcome"] == case["calm"]["outcome"]
        assert case["cut"]["outcome"]["twice"] == 0
    assert len(found["study"]["training"]["workers"]) == 2
    assert len({host["address"] for host in found["hosts"]}) == 8


def test_a_loss_is_told() -> None:
    calm = {"seconds": 5.0, "attempts": 1, "outcome": {"rows": 3, "twice": 0, "sha256": "a"}}
    lost = {**calm, "outcome": {"rows": 2, "twice": 0, "sha256": "b"}}
    case = {"link": "a - b", "seconds": 15.0, "work": "derivation", "same": False, "cut": lost, "calm": calm}
    row = page.cases([{**case, "during": [], "processes_ended": {"a/ray": 1}}])
    assert "**no**" in row
    assert "a/ray 1" in row


def test_the_kernels_tables_are_read() -> None:
    assert address("0B004D0A:1B9E") == "10.77.0.11:7070"
    assert address("0000000000000000FFFF00000B004D0A:1B9E") == "10.77.0.11:7070"
    assert short("/usr/bin/python3 -m services.gateway") == "services.gateway"
    assert short("/x/raylet --worker=python setup_worker.py") == "raylet"
    assert short("/x/python -u /y/monitor.py --logs") == "monitor.py"
