"""Attempts as RayJobs: what their tests have in common."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingrain.v1 import trainer_pb2
from services.trainer import exchange
from services.trainer.settings import TrainerSettings
from services.trainer.spec import resolve
from tests.unit.trainer.desk import TARGET

TEMPLATE = Path(__file__).parents[3] / "deploy" / "k8s" / "overlays" / "gpu" / "rayjob.yaml"
PREFIX = f"{TARGET}/0a1b2c3d4e5f-3"
ID = "0a1b2c3d4e5f-3"
NAME = f"training-{ID}"


def job(workers: int = 2) -> exchange.Job:
    config = asdict(resolve(trainer_pb2.TrainingSpec(num_workers=workers), trainer_pb2.Model()))
    rest = {"base_key": "b", "base_sha256": "", "packed_key": "p", "packed_sha256": "", "checkpoint": None}
    return exchange.Job(PREFIX, TARGET, "base", config=config, submit_time=0.0, threads=1, **rest)


def settings(**changes: Any) -> TrainerSettings:
    return TrainerSettings(
        **({"ray_job_template": TEMPLATE, "ray_python": "/python", "attach_wait_s": 5.0} | changes)
    )
