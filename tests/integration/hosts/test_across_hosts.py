"""Two services on two hosts, which are namespaces of this machine; the whole platform's turn is `make hosts`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.hosts.network import why_not

WHY_NOT = why_not()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "allowed")
def test_a_call_outlasts_a_cut_between_two_hosts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.hosts.across", str(tmp_path / "hosts")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["listens"] == {
        "gateway": ["10.77.0.11:7070", "10.77.0.11:7080"],
        "services": ["10.77.0.12:7071"],
    }
    assert found["while_cut"] is None
    assert found["healed"] == 1
