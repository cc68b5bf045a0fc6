"""Images by digest: asked of a registry through a stand-in for docker, and rendered by the real kustomize."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import k8s_images
from tools.k8s_check import pods as rules
from tools.k8s_check import rendering
from tools.k8s_check.objects import load, pods

STAND_IN = """#!/bin/sh
case "$*" in
"buildx imagetools inspect --format {{json .Manifest}} registry.example/team/"*":0.1.0"*) ;;
*) echo "ERROR: $* not found" >&2; exit 1 ;;
esac
echo "{\\"mediaType\\": \\"application/vnd.oci.image.index.v1+json\\", \\"digest\\": \\"sha256:$(echo "$6" | sha256sum | cut -c1-64)\\"}"
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tool = tmp_path / "bin" / "docker"
    tool.parent.mkdir()
    tool.write_text(STAND_IN)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["k8s_images", *arguments])
    return k8s_images.main()


@pytest.mark.skipif(not rendering.has_kubectl(), reason="needs kubectl with kustomize 5")
@pytest.mark.parametrize("overlay", ["laptop", "gpu"])
def test_every_own_image_comes_by_digest(docker: Path, monkeypatch: pytest.MonkeyPatch, overlay: str) -> None:
    mine = docker / "mine"
    assert run(monkeypatch, "registry.example/team/", str(mine / "images"), "--overlay", overlay) == 0
    there = os.path.relpath(rendering.MANIFESTS / "overlays" / overlay, mine.resolve())
    kustomization = {"resources": [there], "components": ["images"]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    done = subprocess.run(["kubectl", "kustomize", str(mine)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rendered = load(done.stdout)
    assert [f for f in rules.check(rendered, own_digests=True) if f.rule == "image"] == []
    images = {c["image"] for pod in pods(rendered) for c in pod.containers}
    assert any(image.startswith("registry.example/team/gateway@sha256:") for image in images)
    assert any(image.startswith("registry.example/team/ray@sha256:") for image in images)
    forgotten = load(rendering.render(rendering.Variant(overlay)))
    assert [f for f in rules.check(forgotten, own_digests=True) if f.rule == "image"]


def test_an_image_that_was_not_pushed_is_told_and_nothing_is_written(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "elsewhere.example/", str(docker / "images")) == 1
    assert "elsewhere.example/augmenter:0.1.0 not found" in capsys.readouterr().err
    assert not (docker / "images").exists()


def test_two_tags_of_one_image_are_refused() -> None:
    pod = {"spec": {"containers": [{"image": "ingrain/ray:1"}, {"image": "ingrain/ray:1-cuda"}]}}
    with pytest.raises(ValueError, match="two tags"):
        k8s_images.own_images([{"kind": "Deployment", "spec": {"template": pod}}])
