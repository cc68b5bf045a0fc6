"""Rules where a planted fault does not tell enough: quantities, selectors, policies."""

from decimal import Decimal

import pytest

from tools.k8s_check.network import End, passes, selects
from tools.k8s_check.objects import load, pods
from tools.k8s_check.pods import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("500m", Decimal("0.5")), ("1Gi", 1 << 30), ("1.5G", 1_500_000_000), (".5", Decimal("0.5"))],
)
def test_quantity(text: str, value: Decimal) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "1gb", "100mc", "-1", "1e", "Gi", None])
def test_no_quantity(text: str | None) -> None:
    assert quantity(text) is None


def test_pods_are_found_in_any_kind() -> None:
    text = """
kind: RayJob
metadata: {name: a}
spec:
  rayClusterSpec:
    headGroupSpec: {template: {spec: {containers: [{name: head}]}}}
    workerGroupSpecs: [{template: {spec: {containers: [{name: worker}]}}}]
  submitterPodTemplate: {spec: {containers: [{name: submitter}]}}
---
kind: CronJob
metadata: {name: b}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: job}]}}}}}
---
kind: Pod
metadata: {name: c}
spec: {containers: [{name: bare}]}
"""
    found = [pod.containers[0]["name"] for pod in pods(load(text))]
    assert found == ["head", "worker", "submitter", "job", "bare"]


def test_a_rayjob_in_a_configmap_is_read_as_an_object_with_the_image_that_the_trainer_puts_in() -> None:
    template = """
kind: ConfigMap
metadata: {name: template}
data:
  rayjob.yaml: |
    kind: RayJob
    metadata: {name: training}
    spec: {rayClusterSpec: {headGroupSpec: {template: {spec: {containers: [{name: head, image: mine}]}}}}}
"""
    trainer = """
---
kind: Pod
metadata: {name: trainer}
spec: {containers: [{name: trainer, env: [{name: INGRAIN_RAY_JOB_IMAGE, value: theirs}]}]}
"""
    for text, image in ((template, "mine"), (template + trainer, "theirs")):
        (pod,) = [pod for pod in pods(load(text)) if pod.owner["kind"] == "RayJob"]
        assert pod.containers[0]["image"] == image


def policy(way: str, selector: dict, *rules: dict) -> dict:
    return {"spec": {"podSelector": selector, "policyTypes": [way], way.lower(): list(rules)}}


A = End("a", labels={"app": "a"}, ports=frozenset({80}))
B = End("b", labels={"app": "b"}, ports=frozenset({80}))
OUTSIDE = End("outside", "", address="203.0.113.7")
TO_B = {"to": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]}
FROM_A = {"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}


def test_without_policies_everything_passes() -> None:
    assert passes([], A, B, 80)


def test_both_sides_have_to_let_it_pass() -> None:
    out, into = policy("Egress", {}, TO_B), policy("Ingress", {"matchLabels": {"app": "b"}}, FROM_A)
    assert passes([out, into], A, B, 80)
    assert not passes([out, into], A, B, 81)
    assert not passes([out, policy("Ingress", {})], A, B, 80)
    assert not passes([into, policy("Egress", {})], A, B, 80)
    assert not passes([out, into], B, A, 80)


def test_policies_add_up() -> None:
    assert passes([policy("Egress", {}), policy("Egress", {"matchLabels": {"app": "a"}}, TO_B)], A, B, 80)


def test_a_pod_selector_is_of_the_same_namespace_and_blocks_are_of_addresses() -> None:
    elsewhere = End("a", "other", {"app": "a"})
    into = policy("Ingress", {}, FROM_A)
    assert not passes([into], elsewhere, B, 80)
    block = policy("Ingress", {}, {"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]})
    assert passes([block], OUTSIDE, B, 80)
    assert not passes([block], A, B, 80)


def test_expressions_of_selectors() -> None:
    def one(operator: str, *values: str) -> dict:
        return {"matchExpressions": [{"key": "app", "operator": operator, "values": list(values)}]}

    assert selects(one("In", "a", "b"), {"app": "a"})
    assert not selects(one("NotIn", "a"), {"app": "a"})
    assert selects(one("DoesNotExist"), {})
    assert not selects(one("Exists"), {})
