"""Lets scripts import `ingrain.worlds` without the SDK around it, which needs gRPC.

Importing this module makes `ingrain` an empty package with the SDK's folder as its path, unless the
real one was imported before. The worlds themselves are pure Python.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent

# One thread a process: a second one costs more than it brings for matrices of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if "ingrain" not in sys.modules:
    package = types.ModuleType("ingrain")
    package.__path__ = [str(HERE.parent / "sdk" / "src" / "ingrain")]
    sys.modules["ingrain"] = package
