"""The model's scripts stand beside each other and import each other by bare names."""

import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parents[3] / "models"
if str(MODELS) not in sys.path:
    sys.path.append(str(MODELS))
