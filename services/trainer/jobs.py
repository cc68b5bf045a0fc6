"""Ray jobs: submit, watch, stop. The cluster is reached by its dashboard; its token is RAY_AUTH_TOKEN in the environment.

Ray's client is synchronous: every call runs in a thread. Ray is imported there, so that the trainer starts without it.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from servicekit.errors import Unavailable
from services.trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

T = TypeVar("T")

ENDED = ("SUCCEEDED", "FAILED", "STOPPED", "GONE")
LOG_LINES = 40
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0  # of one request to the dashboard
REPORTER_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_MODE",
    "WANDB_BASE_URL",
)


class Jobs(Protocol):
    """Where attempts run. All of it may raise Unavailable."""

    async def submit(self, submission_id: str, prefix: str) -> None: ...

    async def status(self, submission_id: str) -> str: ...

    async def stop(self, submission_id: str) -> None: ...

    async def log_tail(self, submission_id: str) -> str: ...

    async def unended(self) -> dict[str, str]: ...


class RayJobs:
    """The jobs of this trainer on one Ray cluster."""

    def __init__(self, settings: TrainerSettings) -> None:
        self.settings = settings
        self.client: JobSubmissionClient | None = None

    async def submit(self, submission_id: str, prefix: str) -> None:
        """Starts the driver for the attempt under `prefix`; an id that Ray knows already is taken as submitted."""

        def submit(client: "JobSubmissionClient") -> None:
            if status(client, submission_id) != "GONE":
                return
            client.submit_job(
                entrypoint=f"{self.settings.ray_python} -m services.trainer.driver {prefix}",
                submission_id=submission_id,
                runtime_env={"env_vars": job_environment(self.settings)},
                metadata={"prefix": prefix},
            )

        await self.call(submit)

    async def status(self, submission_id: str) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED; GONE where Ray does not know it (any more)."""
        return await self.call(lambda client: status(client, submission_id))

    async def stop(self, submission_id: str) -> None:
        """Returns when the job has ended."""
        asked = False
        while await self.status(submission_id) not in ENDED:
            if not asked:
                asked = True
                await self.call(lambda client: client.stop_job(submission_id))
            await asyncio.sleep(0.5)

    async def log_tail(self, submission_id: str) -> str:
        """The last lines that the driver wrote; empty where Ray has none."""

        def read(client: "JobSubmissionClient") -> str:
            try:
                return "\n".join(client.get_job_logs(submission_id).splitlines()[-LOG_LINES:])
            except RuntimeError:
                return ""

        return await self.call(read)

    async def unended(self) -> dict[str, str]:
        """The prefixes of attempts whose jobs have not ended, by submission id; of all trainers of this Ray cluster."""
        listed = await self.call(lambda client: client.list_jobs())
        return {
            job.submission_id: job.metadata["prefix"]
            for job in listed
            if job.submission_id and "prefix" in (job.metadata or {}) and job.status.value not in ENDED
        }

    async def call(self, action: Callable[["JobSubmissionClient"], T]) -> T:
        """Waits a bounded time for a dashboard that is not there (a restarted head comes back), then Unavailable."""
        deadline = time.monotonic() + self.settings.attach_wait_s
        while True:
            try:
                return await asyncio.to_thread(self.attempt, action)
            except ConnectionError as error:
                self.client = None
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "RAY_UNREACHABLE",
                        f"The Ray cluster at {self.settings.ray_dashboard} does not answer.",
                        dashboard=self.settings.ray_dashboard,
                    ) from error
            await asyncio.sleep(1.0)

    def attempt(self, action: Callable[["JobSubmissionClient"], T]) -> T:
        import requests
        from ray.job_submission import JobSubmissionClient

        class Bounded(JobSubmissionClient):
            """Ray's waits without end for an answer, also from a machine that is gone."""

            def _do_request(self, method: str, endpoint: str, **more: Any) -> requests.Response:
                limits = {"timeout": (CONNECT_SECONDS, ANSWER_SECONDS)}
                return super()._do_request(method, endpoint, **limits, **more)

        try:
            client = self.client  # other threads' calls may set it to None meanwhile
            if client is None:
                client = self.client = Bounded(self.settings.ray_dashboard)
            return action(client)
        except requests.exceptions.RequestException as error:
            raise ConnectionError(str(error)) from error
        except RuntimeError as error:
            # A head that is just starting answers before it can do anything.
            if "status code 5" in str(error):
                raise ConnectionError(str(error)) from error
            raise


def job_environment(settings: TrainerSettings) -> dict[str, str]:
    """What driver and workers need to know. The keys of the object storage are not among it: a job's environment can be read by whoever sees
    the job; they must be in the environment of the Ray nodes."""
    threads = str(settings.threads_per_worker)
    return {
        "INGRAIN_STORAGE": settings.storage,
        "INGRAIN_S3_ENDPOINT": settings.s3_endpoint,
        "INGRAIN_S3_REGION": settings.s3_region,
        "INGRAIN_S3_SECURE": str(settings.s3_secure).lower(),
        "INGRAIN_SCRATCH": str(settings.scratch),
        "INGRAIN_RESOURCE_WAIT_S": str(settings.resource_wait_s),
        "INGRAIN_REPORT_TO": settings.report_to,
        **reporter_variables(os.environ),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONDONTWRITEBYTECODE": "",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    }


def reporter_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Where reporters find their servers; never their keys, which must be in the environment of the Ray nodes."""
    return {
        name: environment[name]
        for name in REPORTER_VARIABLES
        if environment.get(name) and "@" not in environment[name]
    }


def status(client: "JobSubmissionClient", submission_id: str) -> str:
    try:
        return client.get_job_status(submission_id).value
    except RuntimeError as error:
        if "404" in str(error) or "does not exist" in str(error):
            return "GONE"
        raise
