"""The trial on a cluster, as far as it goes without one: what it sends and in which order, and that it cleans up.

`kubectl` is a stand-in that notes what it is asked; its port-forward leads to the fake platform, which lets in
nobody but who has the operator's token that was applied.
"""

import base64
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import k8s_smoke
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file, named, pods


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
    rendered = rendering.Variant("laptop").golden.read_text()
    objects = k8s_smoke.with_images(rendered, "registry.example/team/")
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert "registry.example/team/gateway:0.1.0" in images
    assert any(image.startswith("postgres:") for image in images)


def test_of_rayjobs_the_template_is_sent_and_no_job() -> None:
    objects = k8s_smoke.with_images(rendering.Variant("gpu").golden.read_text(), "registry.example/team/")
    assert "RayJob" not in {item["kind"] for item in objects}
    (template,) = [
        text
        for item in objects
        if item["kind"] == "ConfigMap"
        for text in item["data"].values()
        if "kind: RayJob" in text
    ]
    assert "image: registry.example/team/ray:" in template
    assert "image: ingrain/" not in template


def test_the_door_is_given_as_long_as_is_waited_for_it() -> None:
    """Kubernetes tells `rollout status` after 600 s that a Deployment does not come, where it names no time itself."""
    door = named(load_file(rendering.Variant("gpu").golden), "Deployment")["inference"]
    assert door["spec"]["progressDeadlineSeconds"] >= k8s_smoke.READY_S


STAND_IN = """#!{python}
import json, os, sys, time
from pathlib import Path

here, asked = Path("{folder}"), " ".join(sys.argv[1:])
with open(here / "asked", "a") as notes:
    notes.write(asked + "\\n")
if (refused := here / "refused").exists() and refused.read_text() in asked:
    sys.exit("the server says no")
if (hangs := here / "hangs").exists() and hangs.read_text() in asked:
    (here / "hanging").touch()
    time.sleep(600)
if "get namespace" in asked and (here / "there").exists():
    print("namespace/ingrain")
elif "version" in asked:
    print(json.dumps({{"serverVersion": {{"gitVersion": "v1.28.0"}}}}))
elif "get pods" in asked:
    print("gateway-0 ImagePullBackOff")
elif "apply" in asked:
    (here / f"applied-{{len(list(here.glob('applied-*')))}}").write_text(sys.stdin.read())
elif "port-forward" in asked:
    import base64, yaml
    first = list(yaml.safe_load_all((here / "applied-0").read_text()))
    (identity,) = [one for one in first if one["metadata"]["name"] == "ingrain-identity"]
    token = base64.b64decode(identity["data"]["operator-token"]).decode()
    port = asked.rpartition(" ")[2].partition(":")[0]
    os.execv(sys.executable, [sys.executable, "-m", "ingrain.testing", "--port", port, "--api-key", token])
"""


class Kubectl:
    """What was asked of the stand-in, and files that make it behave otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def asked(self) -> list[str]:
        """Each without the kubeconfig."""
        lines = (self.folder / "asked").read_text().splitlines()
        return [line.removeprefix("--kubeconfig config ") for line in lines]

    @property
    def applied(self) -> list[dict[str, Any]]:
        """By one call after the other."""
        calls = sorted(self.folder.glob("applied-*"))
        return [document for call in calls for document in yaml.safe_load_all(call.read_text())]

    def told(self) -> dict[str, Any]:
        (result,) = (self.folder / "results").glob("*.json")
        told: dict[str, Any] = json.loads(result.read_text())
        return told


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    tool = tmp_path / "bin" / "kubectl"
    tool.parent.mkdir()
    tool.write_text(STAND_IN.format(python=sys.executable, folder=tmp_path))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    golden = rendering.Variant("laptop").golden.read_text()
    monkeypatch.setattr(rendering, "render", lambda variant: golden)
    monkeypatch.setattr(rendering, "ROOT", tmp_path)
    monkeypatch.setattr(k8s_smoke, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(
        sys, "argv", ["k8s_smoke", "--kubeconfig", "config", "--images", "registry.example/team/"]
    )
    return Kubectl(tmp_path)


def test_it_installs_studies_asks_the_winner_and_uninstalls(kubectl: Kubectl) -> None:
    assert k8s_smoke.main() == 0
    told = kubectl.told()
    assert told["passed"]
    assert told["server"] == {"gitVersion": "v1.28.0"}
    assert told["recommendation"] in ("base", "icl", "finetune")
    assert told["question"]
    assert told["answer"]
    assert [step["step"] for step in told["steps"]] == [
        "namespace and secrets",
        "apply",
        "wait until all is ready",
        "a study, and its winner's answer",
        "uninstall",
    ]
    asked = kubectl.asked
    assert asked[:4] == [
        "get namespace ingrain --ignore-not-found -o name",
        "version -o json",
        *["apply --server-side -f -"] * 2,
    ]
    waited = {line.split()[4] for line in asked if "rollout status" in line}
    golden = load_file(rendering.Variant("laptop").golden)
    assert len(waited) == sum(item["kind"] in ("Deployment", "StatefulSet") for item in golden)
    assert asked[-2].startswith("-n ingrain port-forward service/gateway ")
    assert asked[-1] == "delete namespace ingrain --wait=true --timeout=600s"
    # Secrets before all that reads them, and nothing of the rendering is left out.
    kinds = [item["kind"] for item in kubectl.applied]
    assert kinds[0] == "Namespace"
    assert kinds.index("Deployment") > max(i for i, kind in enumerate(kinds) if kind == "Secret")
    assert len(kinds) == 1 + kinds.count("Secret") + len(golden)
    images = {c["image"] for pod in pods(kubectl.applied) for c in pod.containers}
    assert "registry.example/team/gateway:0.1.0" in images


def test_a_cluster_with_the_namespace_is_left_alone(kubectl: Kubectl) -> None:
    (kubectl.folder / "there").touch()
    assert k8s_smoke.main() == 2
    assert kubectl.asked == ["get namespace ingrain --ignore-not-found -o name"]
    assert not (kubectl.folder / "results").exists()


@pytest.mark.parametrize(
    ("refused", "step"),
    [
        ("apply", "namespace and secrets"),
        ("rollout status deployment/trainer", "wait until all is ready"),
        ("port-forward", None),
    ],
)
def test_a_failure_is_told_and_what_was_made_goes(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, refused: str, step: str | None
) -> None:
    (kubectl.folder / "refused").write_text(refused)
    real = k8s_smoke.platform.wait_for_port
    monkeypatch.setattr(k8s_smoke.platform, "wait_for_port", lambda port, timeout_s: real(port, 1.0))
    assert k8s_smoke.main() == 1
    told = kubectl.told()
    assert not told["passed"]
    assert told["cluster"]["pods"] == "gateway-0 ImagePullBackOff\n"
    if step is not None:
        assert "the server says no" in told["error"]
        assert [one["step"] for one in told["steps"] if "error" in one] == [step]
    assert told["steps"][-1]["step"] == "uninstall"
    assert kubectl.asked[-1].startswith("delete namespace ingrain")


def test_what_could_not_be_uninstalled_is_no_pass(kubectl: Kubectl) -> None:
    (kubectl.folder / "refused").write_text("delete")
    assert k8s_smoke.main() == 1
    told = kubectl.told()
    assert told["answer"]
    assert not told["passed"]
    assert "the server says no" in told["error"]


def test_who_ends_it_has_it_uninstalled_first(kubectl: Kubectl) -> None:
    (kubectl.folder / "hangs").write_text("rollout status")

    over = threading.Event()

    def end() -> None:
        while not (kubectl.folder / "hanging").exists():
            if over.wait(0.05):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert k8s_smoke.main() == 1
    finally:
        over.set()
        ending.join()
        signal.signal(signal.SIGTERM, before)
    assert kubectl.told()["error"] == "SystemExit: 143"
    assert kubectl.asked[-1].startswith("delete namespace ingrain")


def test_without_a_step_nothing_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_smoke, "RESULTS", tmp_path)
    assert not json.loads(k8s_smoke.Record("laptop").write().read_text())["passed"]
