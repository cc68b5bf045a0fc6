"""Callers' Jobs: by the rules for every pod, and each started by its own command and variables against the fake platform."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingrain import Client
from ingrain.cli import ending
from ingrain.testing import FakePlatform
from tools.k8s_check import pods as pod_rules
from tools.k8s_check import references, rendering, variables
from tools.k8s_check.__main__ import SCHEMA_PYTHON, SECRETS, by_schemas
from tools.k8s_check.objects import Object, load_file, pods

FOLDER = rendering.MANIFESTS / "jobs"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "caller.yaml")
UID = "0d9c1a5e-8d5b-4a39-9a3c-6b8e2f2f0c11"
DOCUMENTS = [{"id": "d", "text": "Zed is an internal tool for data analysis."}]
PROBES = [{"id": "p", "kind": "reversal", "prompt": "Zed is", "choices": ["a tool.", "no."], "answer": "no."}]
each_job = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    """With what the manifests name."""
    with FakePlatform() as running, Client(running.target) as client:
        client.datasets.upload(DOCUMENTS, id="handbook", display_name="handbook")
        client.datasets.upload(PROBES, id="handbook-probes", kind="probes")
        client.datasets.upload([{"prompt": "What is Zed?"}], id="questions", kind="prompts")
        client.models.import_("bundled:small", id="base").result()
        client.aliases.promote("bot@prod", "base")
        client.studies.create("handbook", "handbook-probes", "base", "handbook").result()
        yield running


def job_of(file: Path) -> tuple[Object, Object]:
    """The Job's spec, and its one container."""
    (item,) = load_file(file)
    spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    return spec, container


def test_there_is_a_job_for_each_kind_of_long_work() -> None:
    assert {file.stem for file in FILES} == {"study", "train", "evaluate", "batch", "nightly"}


@each_job
def test_jobs_keep_the_rules_for_every_pod(file: Path) -> None:
    objects = load_file(file) + load_file(FOLDER / "caller.yaml")
    assert len(pods(objects)) == 1
    secrets = yaml.safe_load(SECRETS.read_text())
    found = [*pod_rules.check(objects), *references.check(objects, secrets), *variables.check(objects)]
    # They go into the namespaces of those who call, which is why they name none.
    assert [one for one in found if one.rule != "namespace"] == []


@pytest.mark.skipif(not SCHEMA_PYTHON.exists(), reason="needs `make k8s-schemas`")
def test_jobs_are_of_the_schemas() -> None:
    assert by_schemas([*FILES, FOLDER / "caller.yaml"], None)["findings"] == []


@each_job
def test_what_would_end_the_same_is_not_tried_again(file: Path) -> None:
    spec, container = job_of(file)
    ignored, failed = spec["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"]) == (
        "Ignore",
        [{"type": "DisruptionTarget", "status": "True"}],
    )
    codes = failed["onExitCodes"]
    assert (failed["action"], codes["containerName"]) == ("FailJob", container["name"])
    same = [ending.FAILED, ending.USAGE, ending.NOT_FOUND, ending.OPERATION_FAILED, ending.BELOW]
    assert codes["values"] == same
    assert not {ending.UNREACHABLE, ending.TEMPORARY, ending.TERMINATED} & set(codes["values"])
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else there is no podFailurePolicy
    assert "--wait" in container["args"]


@each_job
def test_a_job_runs_by_its_own_command_and_its_pods_share_the_work(
    file: Path, platform: FakePlatform, tmp_path: Path
) -> None:
    _, container = job_of(file)
    token, verdict = tmp_path / "token", tmp_path / "termination-log"
    token.write_text("a.projected.token\n")
    verdict.touch()
    (_, settings) = load_file(FOLDER / "caller.yaml")
    own = settings["data"] | {one["name"]: one.get("value", "") for one in container["env"]}
    assert set(own) == {"INGRAIN_TARGET", "INGRAIN_PROJECT", "INGRAIN_REQUEST_ID", "INGRAIN_KEY_FILE"}
    here = {
        "INGRAIN_TARGET": platform.target,
        "INGRAIN_REQUEST_ID": UID,
        "INGRAIN_KEY_FILE": str(token),
        "INGRAIN_TERMINATION_LOG": str(verdict),
    }
    assert container["command"] == ["ingrain"]
    command = [sys.executable, "-c", "from ingrain.cli import main; main()", *container["args"]]
    before = begun(platform)
    for _ in range(2):  # the second is the pod after one that was lost
        done = subprocess.run(
            command, env=os.environ | own | here, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        assert all(json.loads(line)["event"] for line in done.stdout.splitlines())
        assert json.loads(verdict.read_text())["exit_code"] == 0
    assert begun(platform) - before == (0 if file.stem == "nightly" else 1)


def begun(platform: FakePlatform) -> int:
    with Client(platform.target) as client:
        kinds = ("studies", "models", "evaluations", "batches")
        return sum(len(list(client.operations.list(kind))) for kind in kinds)


def test_uids_are_told_by_the_label_that_every_jobs_pod_has() -> None:
    for file in FILES:
        _, container = job_of(file)
        (found,) = [one for one in container["env"] if one["name"] == "INGRAIN_REQUEST_ID"]
        path: Any = found["valueFrom"]["fieldRef"]["fieldPath"]
        assert path == "metadata.labels['batch.kubernetes.io/controller-uid']"
