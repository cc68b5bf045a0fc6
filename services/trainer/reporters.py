"""The steps' metric series for tools that people have: TensorBoard files, MLflow, Weights & Biases.

The first worker hands its progress lines to a thread; no step waits for a reporter, and one that fails is left out with a warning. What a
reporter needs (addresses, keys) it reads from its own variables in the environment of the Ray nodes.
"""

import asyncio
import contextlib
import hashlib
import queue
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from servicekit.storage import Storage
from services.trainer.engine import CannotTrain
from services.trainer.exchange import Job
from services.trainer.outages import OUTAGES, within

SERIES = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "train/tokens_per_second",
    "mfu": "train/model_flops_utilization",
    "tokens": "train/tokens",
}
MEASURED = {"eval_loss": "eval/loss", "acc": "eval/acc"}
FIRST_PART_SECONDS, LONGEST_PART_SECONDS = 5.0, 600.0
BEAT_SECONDS = 1.0
EXPERIMENT = "ingrain"


def tensorboard_key(prefix: str, part: int) -> str:
    """TensorBoard reads all files of a folder whose names hold `tfevents`, in their order."""
    return f"{prefix}/tensorboard/events.out.tfevents.{part:06d}"


class Reporter(Protocol):
    def write(self, step: int, time_s: float, values: Mapping[str, float]) -> None: ...
    def beat(self) -> None:
        """Called every second."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files in object storage, each written once: a part after seconds at first, after minutes later on."""

    def __init__(self, job: Job, storage: Storage, wait_s: float = 0.0) -> None:
        from tensorboardX import SummaryWriter

        self.new_writer = SummaryWriter
        self.job = job
        self.storage = storage
        self.wait_s = wait_s
        self.folder = tempfile.TemporaryDirectory(prefix="tensorboard-")
        self.part = 0
        self.part_seconds = FIRST_PART_SECONDS
        self.begun = 0.0
        self.writer: Any = None

    def write(self, step: int, time_s: float, values: Mapping[str, float]) -> None:
        if self.writer is None:
            self.part += 1
            self.begun = time.monotonic()
            self.writer = self.new_writer(self.part_folder().as_posix())
        for name, value in values.items():
            self.writer.add_scalar(name, value, step, walltime=time_s)

    def beat(self) -> None:
        if self.writer is not None and time.monotonic() - self.begun > self.part_seconds:
            self.part_seconds = min(2 * self.part_seconds, LONGEST_PART_SECONDS)
            self.put_part(0.0)

    def put_part(self, wait_s: float) -> None:
        """A part that storage does not take stays and is put with a later one."""
        self.writer.close()
        self.writer = None
        with contextlib.suppress(*OUTAGES):
            asyncio.run(within(wait_s, self.put_files))

    async def put_files(self) -> None:
        for folder in sorted(Path(self.folder.name).iterdir()):
            (path,) = folder.iterdir()
            await self.storage.put_file(tensorboard_key(self.job.prefix, int(folder.name)), path)
            path.unlink()
            folder.rmdir()

    def part_folder(self) -> Path:
        return Path(self.folder.name) / f"{self.part:06d}"

    def close(self) -> None:
        if self.writer is not None:
            self.put_part(self.wait_s)
        self.folder.cleanup()


class MLflow:
    """A run per model in the experiment of MLFLOW_EXPERIMENT_NAME (else `ingrain`); later attempts go on with it."""

    def __init__(self, job: Job) -> None:
        import os

        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.metric = Metric
        self.client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        tags = {"ingrain.model": job.model, "ingrain.base_model": job.base_model}
        runs = self.client.search_runs([experiment], f"tags.`ingrain.model` = '{job.model}'", max_results=1)
        run = runs[0] if runs else self.client.create_run(experiment, run_name=job.model, tags=tags)
        self.run_id = run.info.run_id
        if runs:
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            params = [Param(key, str(value)) for key, value in job.config.items()]
            self.client.log_batch(self.run_id, params=params)

    def write(self, step: int, time_s: float, values: Mapping[str, float]) -> None:
        metrics = [self.metric(name, value, round(time_s * 1000), step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def beat(self) -> None:
        pass

    def close(self) -> None:
        self.client.set_terminated(self.run_id)


class WeightsAndBiases:
    """A run per model in the project of WANDB_PROJECT (else `ingrain`); later attempts go on with it."""

    def __init__(self, job: Job) -> None:
        import os

        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", EXPERIMENT),
            id=hashlib.sha256(job.model.encode()).hexdigest()[:16],
            name=job.model,
            config=job.config,
            resume="allow",
        )

    def write(self, step: int, time_s: float, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def beat(self) -> None:
        pass

    def close(self) -> None:
        self.run.finish()


PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow-skinny", "wandb": "wandb"}


def new_reporter(name: str, job: Job, storage: Storage, wait_s: float) -> Reporter:
    """CannotTrain where its package is not installed; any other error is the tool's own."""
    try:
        if name == "tensorboard":
            return TensorBoard(job, storage, wait_s)
        return MLflow(job) if name == "mlflow" else WeightsAndBiases(job)
    except ImportError as error:
        raise CannotTrain(
            "REPORTER_MISSING",
            f"INGRAIN_REPORT_TO says {name}, and the Ray workers have no package {PACKAGES[name]} ({error}); install it there or "
            "leave it out.",
        ) from error


class Reporting:
    """All reporters of a training behind one queue."""

    def __init__(self, names: tuple[str, ...], job: Job, storage: Storage, wait_s: float) -> None:
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.closing = threading.Event()
        self.reporters: dict[str, Reporter] = {}
        for name in names:
            self.guarded(name, partial(self.begin, name, job, storage, wait_s))

    def begin(self, name: str, job: Job, storage: Storage, wait_s: float) -> None:
        self.reporters[name] = new_reporter(name, job, storage, wait_s)

    def write(self, line: dict[str, Any]) -> None:
        self.lines.put(line)

    def run(self) -> None:
        while not self.closing.wait(BEAT_SECONDS):
            self.pass_on()
        self.pass_on()
        for name, reporter in list(self.reporters.items()):
            self.guarded(name, reporter.close)

    def pass_on(self) -> None:
        while not self.lines.empty():
            line = self.lines.get()
            if values := series(line):
                step = line.get("step", line.get("measurement", {}).get("step", 0))
                time_s = line.get("time", time.time())
                for name, reporter in list(self.reporters.items()):
                    self.guarded(name, partial(reporter.write, step, time_s, values))
        for name, reporter in list(self.reporters.items()):
            self.guarded(name, reporter.beat)

    def guarded(self, name: str, action: Callable[[], None]) -> None:
        """A reporter that fails reports no more; the training goes on."""
        try:
            action()
        except CannotTrain:
            raise
        except Exception as error:
            self.reporters.pop(name, None)
            warnings.warn(f"{name} reports no more: {type(error).__name__}: {error}", stacklevel=2)


def series(line: Mapping[str, Any]) -> dict[str, float]:
    """Values by the names under which people look for them; nothing for a line that says something else."""
    found = {name: float(line[key]) for key, name in SERIES.items() if key in line and "step" in line}
    measured = line.get("measurement", {})
    return found | {name: float(measured[key]) for key, name in MEASURED.items() if key in measured}


@contextlib.contextmanager
def reporting(
    names: tuple[str, ...], job: Job, storage: Storage, wait_s: float = 0.0
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes progress lines; all of them are told when the block has ended."""
    reports = Reporting(names, job, storage, wait_s)
    thread = threading.Thread(target=reports.run, daemon=True)
    thread.start()
    try:
        yield reports.write
    finally:
        reports.closing.set()
        thread.join()
