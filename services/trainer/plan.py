"""What every attempt at a training does: noted once, read again by those after."""

from dataclasses import dataclass
from typing import Any

from services.trainer.config import DataSummary, TrainingConfig


@dataclass(frozen=True)
class Plan:
    """The complete recipe and the packed rows."""

    config: TrainingConfig
    data: DataSummary
    packed_key: str
    packed_sha256: str

    @staticmethod
    def of(notes: dict[str, Any]) -> "Plan":
        return Plan(
            TrainingConfig.from_json(notes["config"]),
            DataSummary(**notes["data"]),
            notes["packed_key"],
            notes["packed_sha256"],
        )
