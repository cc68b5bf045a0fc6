"""What the manifests tell Ray, asked of Ray: the laptop's node with its token, and Serve's reading of the RayService."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from services.supervisor.plan import HOST, RAY_PORTS, free_ports
from services.trainer.jobs import job_environment
from services.trainer.settings import TrainerSettings
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file, named
from tools.k8s_check.variables import environment

GPU = rendering.Variant("gpu")


def test_serve_reads_the_config_of_the_rayservice() -> None:
    from ray.serve.schema import ServeDeploySchema

    service = named(load_file(GPU.golden), "RayService")["engines"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert config.grpc_options.port == 9000
    assert [application.name for application in config.applications] == ["ingrain-inference"]


def test_the_application_is_built_from_the_variables_of_the_configmap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Serve builds it: by the import path, with no arguments, from the environment of Ray's nodes."""
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    objects = load_file(GPU.golden)
    service = named(objects, "RayService")["engines"]
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    worker = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    for name, value in environment(worker, objects)[0].items():
        monkeypatch.setenv(name, value)
    built = call_user_app_builder_with_args_if_necessary(import_attr(application["import_path"]), {})
    deployment = built._bound_deployment
    assert deployment.ray_actor_options["num_gpus"] == 1.0
    assert deployment.ray_actor_options["num_cpus"] <= float(worker["resources"]["requests"]["cpu"])
    scaling = deployment._deployment_config.autoscaling_config
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert scaling.max_replicas <= sum(group["maxReplicas"] for group in groups)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The laptop's Ray node by its manifest's command, on loopback and free ports: its dashboard and its token."""
    objects = load_file(rendering.Variant("laptop").golden)
    container = named(objects, "Deployment")["training"]["spec"]["template"]["spec"]["containers"][0]
    plain, by_secret = environment(container, objects)
    token = secrets.token_hex(32)
    assert by_secret["RAY_AUTH_TOKEN"] == ("ingrain-ray", "auth_token")
    ports = dict(zip(RAY_PORTS, free_ports(len(RAY_PORTS)), strict=True))
    temp = Path(f"/tmp/k8s-{os.getpid()}")  # sockets' paths have to be short
    moved = {"--dashboard-host": HOST, "--temp-dir": str(temp)}
    arguments = [
        f"{name}={moved.get(name, value)}" if value else name
        for name, _, value in (a.partition("=") for a in container["args"])
    ]
    command = [
        str(Path(sys.executable).parent / "ray"),
        *container["command"][1:],
        *arguments,
        f"--node-ip-address={HOST}",
    ]
    command += [f"--{name}={port}" for name, port in ports.items()]
    variables = {**plain, "RAY_AUTH_TOKEN": token, "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    log = (tmp_path / "ray.log").open("wb")
    process = subprocess.Popen(
        command, env=variables, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
    )
    try:
        yield f"http://{HOST}:{ports['dashboard-port']}", token
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(temp, ignore_errors=True)


@pytest.mark.ray
def test_rays_dashboard_asks_for_the_token(node: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard, token = node

    def jobs(**headers: str) -> int:
        request = urllib.request.Request(f"{dashboard}/api/jobs/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                json.load(answer)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    deadline = time.monotonic() + 90
    while jobs(Authorization=f"Bearer {token}") != 200:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert jobs() == 401
    assert jobs(Authorization="Bearer wrong") == 403
    code = (
        "import asyncio; from services.trainer.jobs import RayJobs; from services.trainer.settings import TrainerSettings\n"
        f"print(asyncio.run(RayJobs(TrainerSettings(ray_dashboard={dashboard!r})).status('nothing')))"
    )
    shown = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | shown, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("GONE"), done.stderr


def test_the_trainer_leaves_secrets_to_the_nodes_of_ray() -> None:
    """A job's environment can be read by whoever sees the job: keys must come by the pods, and do."""
    sent = job_environment(TrainerSettings(s3_access_key="a", s3_secret_key="b"))
    objects = load_file(GPU.golden)
    cluster = named(objects, "RayJob")["training"]["spec"]["rayClusterSpec"]
    templates = [cluster["headGroupSpec"]["template"], *(g["template"] for g in cluster["workerGroupSpecs"])]
    for template in templates:
        plain, by_secret = environment(template["spec"]["containers"][0], objects)
        assert {"INGRAIN_S3_ACCESS_KEY", "INGRAIN_S3_SECRET_KEY"} <= set(by_secret)
        assert plain["INGRAIN_SCRATCH"] == "/scratch"
    assert not {"INGRAIN_S3_ACCESS_KEY", "INGRAIN_S3_SECRET_KEY"} & set(sent)
