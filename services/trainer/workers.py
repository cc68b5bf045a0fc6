"""The same function on all of a training's Ray Train workers, in a torch process group of theirs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.train import FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from services.trainer.exchange import Job
from services.trainer.settings import TrainerSettings


def fit(
    function: Callable[[dict[str, Any]], Any],
    job: Job,
    per_worker: dict[str, float],
    settings: TrainerSettings,
    name: str,
) -> Result:
    """`function(asdict(job))` on `num_workers` workers of these resources; the first one's value is `return_value`. Raises where
    one of them fails. `name` is this run's alone: Ray goes on with an older run of the same name."""
    gpu = "GPU" in per_worker
    # The others wait in a collective while the first worker brings a large model to a slow storage.
    patience_s = 3600 + round(settings.storage_wait_s)
    return TorchTrainer(
        function,
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=patience_s),
        scaling_config=ScalingConfig(
            num_workers=job.training_config().num_workers, use_gpu=gpu, resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(settings.scratch / "ray-train"),
            failure_config=FailureConfig(max_failures=0),
        ),
    ).fit()
