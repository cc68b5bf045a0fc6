"""Golden renderings keep every rule, are what kubectl makes now, and every planted fault is found."""

import os
import re
from pathlib import Path

import pytest
import yaml

from tools.k8s_check import rendering, variables
from tools.k8s_check.__main__ import SCHEMA_PYTHON, SECRETS, by_schemas, findings, missed_by_schemas
from tools.k8s_check.faults import Fault, faults
from tools.k8s_check.objects import load_file, pods
from tools.k8s_check.schemas import strict

CRDS = os.environ.get("KUBERAY_CRDS", "")
JOBS = rendering.MANIFESTS / "jobs"
INSTALL = rendering.ROOT / "deploy" / "docker" / "install.sh"
needs_kubectl = pytest.mark.skipif(not rendering.has_kubectl(), reason="needs kubectl with kustomize 5")
needs_schemas = pytest.mark.skipif(not SCHEMA_PYTHON.exists(), reason="needs `make k8s-schemas`")


@pytest.mark.parametrize("variant", rendering.GOLDEN, ids=lambda variant: variant.name)
def test_golden_rendering_keeps_every_rule(variant: rendering.Variant) -> None:
    assert findings(load_file(variant.golden)) == []


def test_golden_folder_holds_these_and_no_others() -> None:
    there = {path.name for path in rendering.GOLDEN_FOLDER.glob("*")}
    assert there == {variant.golden.name for variant in rendering.GOLDEN}


@needs_kubectl
@pytest.mark.parametrize("variant", rendering.GOLDEN, ids=lambda variant: variant.name)
def test_rendering_is_the_golden_one(variant: rendering.Variant) -> None:
    text = rendering.render(variant)
    if os.environ.get("INGRAIN_REWRITE_GOLDEN"):
        variant.golden.write_text(text)
    assert text == variant.golden.read_text()


@pytest.mark.parametrize(
    "fault", [fault for fault in faults() if not fault.is_of_schemas], ids=lambda fault: fault.name
)
def test_planted_fault_is_found_and_nothing_else(fault: Fault) -> None:
    objects = load_file(rendering.Variant(fault.overlay).golden)
    assert {one.rule for one in findings(fault.planted(objects))} == {fault.found_by}


@needs_schemas
@pytest.mark.skipif(not CRDS, reason="needs KUBERAY_CRDS, a folder of KubeRay's definitions")
def test_planted_faults_of_schemas_are_found() -> None:
    assert missed_by_schemas([fault for fault in faults() if fault.is_of_schemas], Path(CRDS)) == []


@needs_schemas
@pytest.mark.slow
def test_golden_renderings_are_of_the_schemas() -> None:
    told = by_schemas([variant.golden for variant in rendering.GOLDEN], Path(CRDS) if CRDS else None)
    assert told["findings"] == []
    assert told["versions"][0] == "1.28"


def test_every_rule_is_proved_by_a_fault() -> None:
    sources = [p for p in Path(rendering.__file__).parent.glob("*.py") if p.name != "faults.py"]
    rules = {
        rule
        for path in sources
        for rule in re.findall(r'Finding\(\s*[^,]+?,\s*"([a-z-]+)"', path.read_text())
    }
    proved = {fault.found_by for fault in faults()}
    assert rules - proved <= {"config-map", "duplicate", "namespace", "ray-image", "service-selector"}
    assert len(rules & proved) >= 25


def test_every_secret_is_listed_and_every_listed_one_is_read() -> None:
    listed = {(name, key) for name, keys in yaml.safe_load(SECRETS.read_text()).items() for key in keys}
    read = set()
    for variant in rendering.GOLDEN:
        for pod in pods(objects := load_file(variant.golden)):
            for container in pod.containers:
                read |= set(variables.environment(container, objects)[1].values())
            for volume in pod.spec.get("volumes") or []:
                if secret := volume.get("secret"):
                    of = secret["secretName"]
                    read |= {(of, item["key"]) for item in secret.get("items") or []}
                    if "items" not in secret:
                        read |= {one for one in listed if one[0] == of}
        for item in objects:
            cluster = item.get("spec", {}).get("rayClusterConfig") or item.get("spec", {})
            if options := cluster.get("authOptions"):
                read.add((options["secretName"], "auth_token"))
    assert read == listed


def test_every_own_image_is_made_by_the_dockerfile() -> None:
    images = {c["image"] for v in rendering.GOLDEN for p in pods(load_file(v.golden)) for c in p.containers}
    own = {
        image.removeprefix("ingrain/").partition(":")[0] for image in images if image.startswith("ingrain/")
    }
    made = set(
        re.findall(
            r"[a-z-]+", " ".join(re.findall(r"^  ([a-z| -]+)\)\s+pip", INSTALL.read_text(), re.MULTILINE))
        )
    )
    assert own <= made, own - made


def test_strict_schema_refuses_unknown_fields_and_keeps_defaults_optional() -> None:
    schema = {
        "type": "object",
        "required": ["count", "name"],
        "properties": {
            "count": {"type": "integer", "default": 1},
            "name": {"type": "string"},
            "port": {"x-kubernetes-int-or-string": True},
            "free": {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True},
            "maybe": {"type": "string", "nullable": True},
        },
    }
    made = strict(schema)
    assert made["required"] == ["name"]
    assert made["additionalProperties"] is False
    assert "additionalProperties" not in made["properties"]["free"]
    assert {"type": "null"} in made["properties"]["maybe"]["anyOf"]
    assert made["properties"]["port"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
