"""The pretraining script works from the first step to a model folder that transformers loads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PRETRAIN = Path(__file__).resolve().parents[3] / "models" / "pretrain.py"
MOST_S = 540  # it takes three minutes; more on a busy machine


@pytest.mark.slow
def test_a_short_pretraining_learns_resumes_and_exports(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PRETRAIN), "--smoke"],
        cwd=tmp_path,  # it needs no place of its own
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=MOST_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r"smoke passed: answer loss ([\d.]+) -> ([\d.]+) in (\d+) steps", done.stdout)
    assert found, done.stdout[-2000:]
    first, last, steps = (float(number) for number in found.groups())
    assert steps >= 100
    assert last < 0.8 * first
