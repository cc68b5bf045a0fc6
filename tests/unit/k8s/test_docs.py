"""What the pages promise about Kubernetes is so."""

import re
from pathlib import Path

import pytest
import yaml

from tools.k8s_check import rendering

ROOT = rendering.ROOT
README = (ROOT / "README.md").read_text()
KUBERNETES = (ROOT / "docs" / "kubernetes.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def kustomizations() -> list[str]:
    """Those that the guide tells to write."""
    return re.findall(r"^```yaml\n(# mine/kustomization.yaml\n.*?)^```", KUBERNETES, re.MULTILINE | re.DOTALL)


def passed_trials() -> list[Path]:
    return [
        path for path in (ROOT / "docs" / "clusters").glob("*.json") if '"passed": true' in path.read_text()
    ]


def test_never_applied_stands_there_until_a_trial_has_passed() -> None:
    said = [
        "never applied to a cluster" in README.lower(),
        "never applied to a cluster" in KUBERNETES.lower(),
    ]
    assert said == ([False, False] if passed_trials() else [True, True])


def test_every_alert_has_its_remedy() -> None:
    rules = yaml.safe_load((rendering.MANIFESTS / "components" / "monitoring" / "alerts.yaml").read_text())
    alerts = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert alerts == re.findall(r"^\| (Ingrain\w+) \|", OPERATIONS, re.MULTILINE)


def test_every_secret_that_has_to_be_made_is_made_in_the_guide() -> None:
    listed = yaml.safe_load((rendering.MANIFESTS / "required-secrets.yaml").read_text())
    for name, keys in listed.items():
        assert name in KUBERNETES
        if name not in ("ingrain-tls", "ingrain-inside"):
            assert all(f"--from-literal={key}=" in KUBERNETES for key in keys), name


def test_folders_and_components_of_the_guide_are_there() -> None:
    components = {path.name for path in (rendering.MANIFESTS / "components").iterdir()}
    assert components == set(
        re.findall(r"`([a-z0-9-]+)`", re.search(r"`components/` \|(.*)\|", KUBERNETES)[1])
    )
    overlays = {path.name for path in (rendering.MANIFESTS / "overlays").iterdir()}
    assert overlays == set(rendering.OPTIONAL)


@pytest.mark.skipif(not rendering.has_kubectl(), reason="needs kubectl with kustomize 5")
def test_kustomizations_of_the_guide_do_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    template = (rendering.MANIFESTS / "overlays" / "gpu" / "rayjob.yaml").read_text()
    told = ""
    for number, text in enumerate(kustomizations()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(text)
        (folder / "rayjob.yaml").write_text(template.replace("memory: 128Gi", "memory: 129Gi"))
        told += rendering._kustomize(folder)
    assert 'ingrain/settings: "1"' in told
    assert "INGRAIN_VLLM_MODEL: s3://<bucket>" in told
    of_mine = re.findall(r"memory: 129Gi", told)
    assert len(of_mine) == 2, "the request and the limit of one template"
