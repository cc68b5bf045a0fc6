"""Attempts as RayJobs: what is filled into the template, and what Kubernetes says of one. Pure."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.trainer.kuberay import filled, job_name, label, read_template, state_of
from tests.unit.trainer.rayjobs import ID, NAME, PREFIX, TEMPLATE, job, settings

CRDS = os.environ.get("KUBERAY_CRDS", "")


def test_the_template_is_filled_with_what_an_attempt_has_of_its_own() -> None:
    template = read_template(TEMPLATE)
    before = json.dumps(template)
    body = filled(template, settings(s3_access_key="key-of-s3", s3_secret_key="secret-of-s3"), job(3), ID)
    assert json.dumps(template) == before
    (group,) = body["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert [group[name] for name in ("replicas", "minReplicas", "maxReplicas")] == [3, 3, 3]
    assert body["spec"]["entrypoint"] == f"/python -m services.trainer.driver {PREFIX}"
    assert body["spec"]["backoffLimit"] == 0
    assert body["spec"]["shutdownAfterJobFinishes"] is True
    assert "suspend" not in body["spec"]
    assert body["metadata"]["name"] == NAME
    assert body["metadata"]["labels"]["ingrain/operation"] == "0a1b2c3d4e5f"
    assert body["metadata"]["labels"]["ingrain/model"] == "projects.p.models.m"
    assert body["metadata"]["annotations"]["ingrain/attempt"] == PREFIX
    variables = yaml.safe_load(body["spec"]["runtimeEnvYAML"])["env_vars"]
    assert variables["INGRAIN_WORKER_GPUS"] == "1"
    assert "of-s3" not in json.dumps(body)


def test_nodes_of_several_gpus_are_as_many_as_are_needed() -> None:
    template = read_template(TEMPLATE)
    (group,) = template["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = 4
    (group,) = filled(template, settings(), job(5), ID)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == 2


def test_a_queue_gets_it_suspended_and_an_image_replaces_all() -> None:
    body = filled(
        read_template(TEMPLATE), settings(ray_job_queue="training", ray_job_image="r/ray@sha256:0"), job(), ID
    )
    assert body["spec"]["suspend"] is True
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert set(re.findall(r'"image": "([^"]*)"', json.dumps(body))) == {"r/ray@sha256:0"}


@pytest.mark.parametrize("id", [ID, "A" * 60, "an_id", "-", "x" * 38, "x" * 39])
def test_names_fit_kubernetes(id: str) -> None:
    name = job_name(id)
    assert re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", name)
    assert len(name) <= 47
    assert name == job_name(id)


def test_labels_fit_kubernetes() -> None:
    long = label("projects/p/models/" + "m" * 80)
    assert len(long) <= 63
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", label("projects/ä/models/m_"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backoffLimit": 2}, "backoffLimit 0"),
        ({"shutdownAfterJobFinishes": False}, "would stay"),
        ({"rayClusterSpec": {"workerGroupSpecs": []}}, "one group"),
    ],
)
def test_a_template_that_would_go_on_by_itself_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    template = yaml.safe_load(TEMPLATE.read_text())
    template["spec"] |= change
    (tmp_path / "rayjob.yaml").write_text(yaml.safe_dump(template))
    with pytest.raises(ValueError, match=said):
        read_template(tmp_path / "rayjob.yaml")


@pytest.mark.parametrize(
    ("deployment", "of_ray", "suspend", "state"),
    [
        ("", "", False, "PENDING"),
        ("", "", True, "QUEUED"),
        ("Initializing", "", False, "PENDING"),
        ("Running", "", False, "PENDING"),
        ("Running", "PENDING", False, "PENDING"),
        ("Running", "RUNNING", False, "RUNNING"),
        ("Running", "RUNNING", True, "QUEUED"),
        ("Suspending", "RUNNING", False, "QUEUED"),
        ("Suspended", "", True, "QUEUED"),
        ("Complete", "SUCCEEDED", False, "SUCCEEDED"),
        ("Complete", "STOPPED", False, "STOPPED"),
        ("Failed", "FAILED", False, "FAILED"),
        ("Failed", "RUNNING", False, "FAILED"),
        ("ValidationFailed", "", True, "FAILED"),
    ],
)
def test_states(deployment: str, of_ray: str, suspend: bool, state: str) -> None:
    status = {"jobDeploymentStatus": deployment, "jobStatus": of_ray}
    assert state_of({"spec": {"suspend": suspend}, "status": status}) == state


@pytest.mark.skipif(not CRDS, reason="needs KUBERAY_CRDS, a folder of KubeRay's definitions")
def test_a_filled_template_is_of_kuberays_schema() -> None:
    import jsonschema

    from tools.k8s_check.schemas import read_crds

    body = filled(read_template(TEMPLATE), settings(ray_job_queue="training"), job(), ID)
    schema = read_crds(Path(CRDS))[("ray.io/v1", "RayJob")]
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(body)] == []
