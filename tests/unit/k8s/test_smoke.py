"""The trial on a cluster, as far as it goes without one: what it would send, and where it refuses."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from tools import k8s_smoke
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file, pods


def test_secrets_are_all_that_the_laptop_reads() -> None:
    made = {s["metadata"]["name"]: s["data"] for s in k8s_smoke.as_secrets(k8s_smoke.made_up())}
    read = {
        (source["name"], source["key"])
        for pod in pods(load_file(rendering.Variant("laptop").golden))
        for container in pod.containers
        for variable in container.get("env") or []
        if (source := (variable.get("valueFrom") or {}).get("secretKeyRef"))
    }
    assert read == {(name, key) for name, keys in made.items() for key in keys}
    url = base64.b64decode(made["ingrain-database"]["url"]).decode()
    assert base64.b64decode(made["ingrain-database"]["password"]).decode() in url


def test_own_images_come_from_the_given_registry() -> None:
    objects = k8s_smoke.with_images(load_file(rendering.Variant("laptop").golden), "registry.example/team/")
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert "registry.example/team/gateway:0.1.0" in images
    assert any(image.startswith("postgres:") for image in images)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that notes what it is asked, and finds what is in `there`."""
    tool, notes = tmp_path / "kubectl", tmp_path / "asked"
    tool.write_text(
        f'#!/bin/sh\necho "$@" >> {notes}\ncase "$*" in\n'
        f"*'get namespace'*) [ ! -e {tmp_path}/there ] || cat {tmp_path}/there ;;\n"
        '*\'version -o json\'*) echo \'{"serverVersion": {"gitVersion": "v1.28.0"}}\' ;;\n'
        "*apply*) echo 'the server says no' >&2; exit 1 ;;\nesac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    golden = rendering.Variant("laptop").golden.read_text()
    monkeypatch.setattr(rendering, "render", lambda variant: golden)
    return notes


def test_a_cluster_with_the_namespace_is_left_alone(kubectl: Path) -> None:
    (kubectl.parent / "there").write_text("namespace/ingrain\n")
    record = k8s_smoke.Record("laptop")
    cluster = k8s_smoke.Cluster(Path("config"))
    with pytest.raises(k8s_smoke.Refused):
        k8s_smoke.smoke(cluster, record, rendering.Variant("laptop"), "ingrain/", keep=False)
    assert "apply" not in kubectl.read_text()
    assert "delete" not in kubectl.read_text()


def test_a_failure_is_told_and_what_was_made_goes(
    kubectl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s_smoke, "RESULTS", tmp_path / "results")
    record = k8s_smoke.Record("laptop")
    cluster = k8s_smoke.Cluster(Path("config"))
    with pytest.raises(subprocess.CalledProcessError):
        k8s_smoke.smoke(cluster, record, rendering.Variant("laptop"), "ingrain/", keep=False)
    told = json.loads(record.write().read_text())
    assert not told["passed"]
    assert told["server"] == {"gitVersion": "v1.28.0"}
    assert "the server says no" in told["steps"][0]["error"]
    assert "delete namespace ingrain" in kubectl.read_text()


def test_without_a_step_nothing_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_smoke, "RESULTS", tmp_path)
    assert not json.loads(k8s_smoke.Record("laptop").write().read_text())["passed"]
