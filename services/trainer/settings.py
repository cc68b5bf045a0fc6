"""What the trainer needs beyond `ServiceSettings`."""

import sys
from pathlib import Path

from pydantic import field_validator

from servicekit.settings import ServiceSettings

REPORTERS = ("tensorboard", "mlflow", "wandb")


class TrainerSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`; hub variables (`HF_TOKEN`, ...) are read by huggingface_hub itself."""

    ray_dashboard: str = "http://127.0.0.1:8265"  # where Ray jobs are submitted
    ray_python: str = sys.executable  # interpreter of the driver on the Ray cluster
    ray_job_template: Path | None = None  # a RayJob: each attempt is one of KubeRay's, not of `ray_dashboard`
    ray_job_image: str = ""  # of its nodes; empty: as the template has it
    ray_job_queue: str = ""  # Kueue's queue that it waits in; empty: none
    trainings_at_once: int = (
        1  # of this process; on one Ray cluster they would wait for each other's processors
    )
    worker_gpus: int | None = None  # of a training worker; None: one where the cluster has as many as workers
    threads_per_worker: int = 1  # CPUs and threads of a training worker
    resource_wait_s: float = 120.0  # how long a fit waits for its workers' CPUs or GPUs
    attach_wait_s: float = 60.0  # how long the Ray dashboard may be out of reach
    storage_wait_s: float = 900.0  # how long a training's end waits for an object storage that is away
    verify_parity: bool = True  # whether inference computes what was trained; false: where there is none
    verify_wait_s: float = 3600.0  # how long a trained model waits for an inference that is away
    bundled_models: Path = Path(__file__).parents[2] / "models"
    model_size_limit_bytes: int = 256 << 30  # of an uploaded or imported model
    upload_expiry_s: float = 24 * 3600.0  # after its last part an unfinished upload in parts is forgotten
    worker_memory_bytes: int = (
        0  # of a worker above its imports; 0: its share, or its GPU, 79 GiB of one that nobody has seen
    )
    estimate_by_trial: bool | None = None  # short trials for estimates; None: where Ray is on this machine
    trial_limit_s: float = 45.0  # how long such a trial may take
    device_peak_flops: float = 0.0  # FLOP/s of a worker's device, for estimates that nothing was measured for
    prices: Path | None = (
        None  # the operator's price table, a PriceTable as JSON; estimates have no price without
    )
    report_to: str = "tensorboard"  # of tensorboard, mlflow and wandb, joined by commas; none: nothing

    @field_validator("report_to")
    @classmethod
    def known_reporters(cls, value: str) -> str:
        if unknown := set(split(value)) - set(REPORTERS):
            raise ValueError(f"{', '.join(sorted(unknown))}: known are {', '.join(REPORTERS)} and none")
        return value

    @property
    def reporters(self) -> tuple[str, ...]:
        return split(self.report_to)


def split(names: str) -> tuple[str, ...]:
    found = (name.strip().lower() for name in names.split(","))
    return tuple(name for name in found if name not in ("", "none"))
