"""The component `monitoring`: services serve their metrics where it says, and every alert reads what is really there."""

import json
import re
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ingrain import Client, errors
from servicekit.backlog import STATES
from tests.unit.k8s.started import Namespace
from tests.unit.k8s.test_starting import PROBES, namespace, running
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file, named, pods

SERVICES = ("gateway", "augmenter")
OWN = re.compile(r"\b(?:ingrain_|rpc_server_|process_)\w+")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
# Labels that Prometheus and the PodMonitor put to what is scraped.
SCRAPED = {"namespace", "pod", "app_kubernetes_io_component"}


def rules() -> list[dict[str, str]]:
    text = (rendering.MANIFESTS / "components" / "monitoring" / "alerts.yaml").read_text()
    return [rule for group in yaml.safe_load(text)["spec"]["groups"] for rule in group["rules"]]


def scraped(space: Namespace, component: str) -> str:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{space.port(component, 7091)}/metrics", timeout=10
    ) as answer:
        return str(answer.read().decode())


def samples(texts: Iterable[str]) -> dict[str, set[str]]:
    """Names of samples -> names of their labels."""
    found: dict[str, set[str]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_alerts_read_what_started_services_tell(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("laptop", tmp_path, made_up, stores, "monitoring")
    operator = made_up[("ingrain-identity", "operator-token")]
    with running(space, *SERVICES) as started:
        for one in started.values():
            for probe in PROBES:
                one.until(probe)
        with Client(space.addresses[("gateway", 7070)], api_key=operator) as client:
            kept = client.datasets.upload([{"id": "a", "text": "A valve."}], "valves")
            with pytest.raises(errors.NotFound):
                client.datasets.get("none-such")
        texts = until_counted(space)
        logged = {name: started[name].log.read_text() for name in SERVICES}
    told = samples(texts.values())
    for rule in rules():
        for name in OWN.findall(rule["expr"]):
            assert name in told, f"{rule['alert']}: no service tells {name}"
        for name, matchers in SELECTOR.findall(rule["expr"]):
            asked = {label for label, _, _ in MATCHER.findall(matchers)}
            assert name not in told or asked <= told[name] | SCRAPED, (rule["alert"], asked - told[name])
    check_calls(texts)
    for text in texts.values():
        for secret in (
            *(one for one in made_up.values() if len(one) > 30),
            kept.name,
            "projects/",
            "valves",
            "none-such",
        ):
            assert secret not in text
    assert all('"metrics":' in log for log in logged.values())


def until_counted(space: Namespace) -> dict[str, str]:
    """A call's end is told before it is counted."""
    deadline = time.monotonic() + 30
    while True:
        texts = {name: scraped(space, name) for name in SERVICES}
        if all(re.search(r'Datasets/GetDataset",[^\n]*NOT_FOUND', text) for text in texts.values()):
            return texts
        assert time.monotonic() < deadline, texts
        time.sleep(0.1)


def check_calls(texts: dict[str, str]) -> None:
    """Each call was counted where it was answered and where it was passed on."""
    for text in texts.values():
        for method, code in (("Datasets/UploadDataset", "OK"), ("Datasets/GetDataset", "NOT_FOUND")):
            counted = re.search(
                rf'rpc_server_call_duration_seconds_count{{rpc_method="/ingrain.v1.{method}",'
                rf'rpc_response_status_code="{code}"}} (\S+)',
                text,
            )
            assert counted, f"{method} {code}\n{text}"
            assert float(counted[1]) == 1
        assert 'ingrain_calls_in_flight{rpc_method="/ingrain.v1.Datasets/UploadDataset"} 0.0' in text


def test_labels_that_alerts_choose_by_are_ones_that_are_counted() -> None:
    """A misspelt reason or state would never fire and never fail."""
    chosen: dict[str, set[str]] = {}
    for rule in rules():
        for label, _, values in MATCHER.findall(rule["expr"]):
            chosen.setdefault(label, set()).update(values.split("|"))
    sources = "\n".join(
        path.read_text()
        for folder in ("services", "servicekit")
        for path in (rendering.ROOT / folder).rglob("*.py")
    )
    for quoted in chosen["reason"] | chosen["verb"]:
        assert f'"{quoted}"' in sources or quoted == "OOMKilled", quoted
    assert chosen["state"] <= {*STATES, "FAILED", "SUCCEEDED", "CANCELLED"}
    assert chosen["outcome"] <= {"ok", "not_found", "error"}


def test_monitors_and_policies_choose_the_services_and_their_port() -> None:
    objects = load_file(rendering.Variant("laptop", ("monitoring",)).golden)
    declared = {
        pod.component: [(p["name"], p["containerPort"]) for c in pod.containers for p in c.get("ports") or []]
        for pod in pods(objects)
    }
    monitor = named(objects, "PodMonitor")["services"]["spec"]
    policy = named(objects, "NetworkPolicy")["metrics-of-services"]["spec"]
    (chosen,) = monitor["selector"]["matchExpressions"]
    assert policy["podSelector"]["matchExpressions"] == [chosen]
    for component in chosen["values"]:
        assert (monitor["podMetricsEndpoints"][0]["port"], 7091) in declared[component]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": 7091}]]
    without = load_file(rendering.Variant("laptop").golden)
    assert "METRICS_PORT" not in json.dumps(without)
