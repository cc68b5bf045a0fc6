"""Attempts as KubeRay's RayJobs: each has a Ray cluster of its own, with a GPU for each worker, made for it and taken away after it.

What all attempts have in common stands in a template, a RayJob in a file; `filled` puts in what one attempt has of its own. The API server
is asked with the pod's own token. Kubernetes' client is synchronous: every call runs in a thread, and it is imported there.
"""

import asyncio
import contextlib
import copy
import hashlib
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
import yaml

from servicekit.errors import Unavailable
from servicekit.storage import Storage
from services.trainer import exchange
from services.trainer.jobs import ENDED, job_environment
from services.trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

T = TypeVar("T")
RayJob = dict[str, Any]

log = structlog.get_logger()
GROUP, VERSION, PLURAL = "ray.io", "v1", "rayjobs"
NAME_CHARACTERS = 47  # KubeRay makes names of clusters and Services of it, which have 63
LABEL_CHARACTERS = 63
GPU = "nvidia.com/gpu"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
CALL_SECONDS = 10.0
STOP_SECONDS = 300.0  # a node that is away keeps its pods on record, for as long as nobody takes it off
KEPT = timedelta(hours=1)  # of a RayJob that ended well; others go as their attempt is left


class KubeRayJobs:
    """The jobs of this trainer, each a RayJob in the template's namespace. `connect`: how the API server is found."""

    def __init__(
        self,
        settings: TrainerSettings,
        storage: Storage,
        connect: Callable[[], "CustomObjectsApi"] | None = None,
    ) -> None:
        assert settings.ray_job_template
        self.settings = settings
        self.storage = storage
        self.template = read_template(settings.ray_job_template)
        self.namespace = self.template["metadata"]["namespace"]
        self.connect = connect or in_cluster
        self.api: CustomObjectsApi | None = None

    async def submit(self, submission_id: str, prefix: str) -> None:
        """Makes the RayJob for the attempt under `prefix`; one that is there already is taken as submitted."""
        job = await exchange.get_job(self.storage, prefix)
        body = filled(self.template, self.settings, job, submission_id)

        def create(api: "CustomObjectsApi") -> None:
            api.create_namespaced_custom_object(*self.place, body, _request_timeout=CALL_SECONDS)

        await self.call(create, known=409)
        with contextlib.suppress(Unavailable):
            await self.call(self.sweep, known=404)

    async def status(self, submission_id: str) -> str:
        """QUEUED, PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED; GONE where Kubernetes does not know it (any more)."""
        return state_of(await self.found(submission_id))

    async def stop(self, submission_id: str) -> None:
        """Deletes the RayJob. Returns when it is gone with all of its pods, or when that has taken `STOP_SECONDS`: what a pod that is out of
        reach still writes lies under an attempt that is over, and counts for nothing."""
        deadline, asked = time.monotonic() + STOP_SECONDS, False
        while await self.found(submission_id) is not None:
            if not asked:
                asked = True
                await self.call(lambda api: self.delete(api, job_name(submission_id)), known=404)
            elif time.monotonic() > deadline:
                log.warning("a RayJob does not go", job=submission_id)
                return
            await asyncio.sleep(0.5)

    async def log_tail(self, submission_id: str) -> str:
        """What KubeRay says of the job's end; the driver keeps its own log in storage."""
        status = (await self.found(submission_id) or {}).get("status") or {}
        return ": ".join(filter(None, (status.get("reason"), status.get("message"))))

    async def unended(self) -> dict[str, str]:
        """The prefixes of attempts whose RayJobs have not ended, by submission id; of all trainers of the namespace."""
        listed = await self.call(self.listed, known=404) or []
        return {
            job["spec"]["jobId"]: job["metadata"]["annotations"]["ingrain/attempt"]
            for job in listed
            if state_of(job) not in ENDED
            and job["spec"].get("jobId")
            and "ingrain/attempt" in job["metadata"].get("annotations", {})
        }

    async def found(self, submission_id: str) -> RayJob | None:
        def get(api: "CustomObjectsApi") -> RayJob:
            name = job_name(submission_id)
            return api.get_namespaced_custom_object(*self.place, name, _request_timeout=CALL_SECONDS)

        return await self.call(get, known=404)

    @property
    def place(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL

    def delete(self, api: "CustomObjectsApi", name: str) -> None:
        """In the foreground: the RayJob stays until its cluster's pods are gone, so that two attempts never train side by side."""
        options = {"propagation_policy": "Foreground", "_request_timeout": CALL_SECONDS}
        api.delete_namespaced_custom_object(*self.place, name, **options)

    def listed(self, api: "CustomObjectsApi") -> list[RayJob]:
        component = self.template["metadata"]["labels"]["app.kubernetes.io/component"]
        listed = api.list_namespaced_custom_object(
            *self.place,
            label_selector=f"app.kubernetes.io/component={component}",
            _request_timeout=CALL_SECONDS,
        )
        return list(listed["items"])

    def sweep(self, api: "CustomObjectsApi") -> None:
        """Ended RayJobs hold nothing, but nobody else takes them away."""
        for job in self.listed(api):
            ended = (job.get("status") or {}).get("endTime")
            if ended and datetime.now(UTC) - datetime.fromisoformat(ended) > KEPT:
                self.delete(api, job["metadata"]["name"])

    async def call(self, action: Callable[["CustomObjectsApi"], T], known: int = 0) -> T | None:
        """None where the answer has the status `known`. Waits a bounded time for an API server that is not there, then Unavailable; Unavailable
        at once where it refuses."""
        deadline = time.monotonic() + self.settings.attach_wait_s
        while True:
            try:
                return await asyncio.to_thread(self.attempt, action, known)
            except ConnectionError as error:
                self.api = None
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "KUBERNETES_UNREACHABLE", f"Kubernetes' API server does not answer: {error}"
                    ) from error
            await asyncio.sleep(1.0)

    def attempt(self, action: Callable[["CustomObjectsApi"], T], known: int) -> T | None:
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        try:
            api = self.api  # other threads' calls may set it to None meanwhile
            if api is None:
                api = self.api = self.connect()
            return action(api)
        except (HTTPError, ConfigException) as error:
            raise ConnectionError(str(error)) from error
        except ApiException as error:
            if error.status == known:
                return None
            # 401: the token has just run out.
            if error.status in (401, 429) or error.status >= 500:
                raise ConnectionError(f"status {error.status}") from error
            raise Unavailable("RAY_JOB_REFUSED", f"Kubernetes refuses: {reason_of(error.body)}") from error


def in_cluster() -> "CustomObjectsApi":
    """By the address and the token that Kubernetes gives a pod; the client reads the token anew as it is renewed."""
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_incluster_config(client_configuration=configuration)
    return client.CustomObjectsApi(client.ApiClient(configuration))


def read_template(path: Path) -> RayJob:
    """ValueError for what would make a second way to try again, or leave a cluster behind."""
    template: RayJob = yaml.safe_load(path.read_text())
    spec = template.get("spec") or {}
    if template.get("kind") != "RayJob" or spec.get("backoffLimit", 0) != 0:
        raise ValueError(
            f"{path} is no RayJob with backoffLimit 0; the trainer makes the next attempt itself"
        )
    if spec.get("shutdownAfterJobFinishes") is not True:
        raise ValueError(f"{path}: shutdownAfterJobFinishes is not true; its cluster would stay")
    if len(spec["rayClusterSpec"]["workerGroupSpecs"]) != 1:
        raise ValueError(f"{path} has not one group of workers, whose number the trainer sets")
    return template


def filled(template: RayJob, settings: TrainerSettings, job: exchange.Job, submission_id: str) -> RayJob:
    """The RayJob of one attempt."""
    body = copy.deepcopy(template)
    metadata, spec = body["metadata"], body["spec"]
    metadata["name"] = job_name(submission_id)
    metadata["labels"] |= {
        "ingrain/operation": label(submission_id.rpartition("-")[0]),
        "ingrain/model": label(job.model),
    }
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        "ingrain/model": job.model,
        "ingrain/attempt": job.prefix,
    }
    cluster = spec["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    gpus = gpus_of(group)
    nodes = -(-job.training_config().num_workers // (gpus or 1))
    group |= {"replicas": nodes, "minReplicas": nodes, "maxReplicas": nodes}
    if settings.ray_job_image:
        for part in (cluster["headGroupSpec"], group):
            for container in part["template"]["spec"]["containers"]:
                container["image"] = settings.ray_job_image
    variables = job_environment(settings) | {"INGRAIN_WORKER_GPUS": str(min(gpus, 1))}
    spec["entrypoint"] = f"{settings.ray_python} -m services.trainer.driver {job.prefix}"
    spec["jobId"] = submission_id
    spec["metadata"] = {"prefix": job.prefix}
    spec["runtimeEnvYAML"] = json.dumps({"env_vars": variables})  # JSON is YAML
    if settings.ray_job_queue:
        metadata["labels"][QUEUE_LABEL] = settings.ray_job_queue
        spec["suspend"] = True  # Kueue lets it go
    return body


def gpus_of(group: dict[str, Any]) -> int:
    """Of one node of the group."""
    limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return int(limits.get(GPU, 0))


def job_name(submission_id: str) -> str:
    """A DNS label that begins with a letter, always the same for the same attempt."""
    name = f"training-{submission_id.lower()}"
    if len(name) <= NAME_CHARACTERS and re.fullmatch(r"[a-z0-9-]*[a-z0-9]", name):
        return name
    return f"training-{hashlib.sha256(submission_id.encode()).hexdigest()[:32]}"


def label(text: str) -> str:
    """As near to the text as a label's value may be; the end tells more than the beginning."""
    return re.sub(r"[^A-Za-z0-9._-]", ".", text)[-LABEL_CHARACTERS:].strip("._-")


def state_of(job: RayJob | None) -> str:
    """In the words of Ray's own jobs. A cluster that a queue has not given yet, or has taken back, is QUEUED."""
    if job is None:
        return "GONE"
    status = job.get("status") or {}
    deployment, of_ray = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    if deployment in ("Failed", "ValidationFailed"):
        return "FAILED"
    if deployment == "Complete":
        return of_ray or "SUCCEEDED"
    if job["spec"].get("suspend") or deployment in ("Suspending", "Suspended"):
        return "QUEUED"
    return of_ray if deployment == "Running" and of_ray else "PENDING"


def reason_of(body: str | bytes | None) -> str:
    """The API server's words."""
    try:
        return str(json.loads(body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(body)
