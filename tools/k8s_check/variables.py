"""What processes are told, against the settings classes that they read: unknown names and wrong values are found."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from servicekit.settings import ServiceSettings
from services.augmenter.settings import AugmenterSettings
from services.evaluator.settings import EvaluatorSettings
from services.gateway.settings import GatewaySettings
from services.inference.settings import InferenceSettings
from services.studies.settings import StudiesSettings
from services.trainer.settings import TrainerSettings
from tools.k8s_check.objects import Finding, Object, Pod, name_of, named, pods
from tools.k8s_check.pods import quantity

SETTINGS: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "augmenter": AugmenterSettings,
    "trainer": TrainerSettings,
    "inference": InferenceSettings,
    "evaluator": EvaluatorSettings,
    "studies": StudiesSettings,
    "engines": InferenceSettings,
    "training": TrainerSettings,
}
PREFIX = "INGRAIN_"
PORTS = ("INGRAIN_PORT", "INGRAIN_HTTP_PORT", "INGRAIN_HEALTH_PORT", "INGRAIN_METRICS_PORT")
SDK = Path(__file__).parents[2] / "sdk" / "src" / "ingrain"
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY|API_KEY|CREDENTIAL", re.IGNORECASE)
_ADDRESS = re.compile(r"^(?:https?://)?(?P<host>[a-z][a-z0-9-]*):(?P<port>\d+)$")


def check(objects: list[Object]) -> Iterator[Finding]:
    reachable = addresses(objects)
    for item in objects:
        if item.get("kind") == "ConfigMap":
            yield from literals(name_of(item), item.get("data") or {})
    for pod in pods(objects):
        for container in pod.containers:
            where = f"{pod.where}/{container.get('name')}"
            given = [variable["name"] for variable in container.get("env") or []]
            for name, count in Counter(given).items():
                if count > 1:
                    yield Finding(where, "variable-twice", f"{name} is given {count} times")
            plain, by_secret = environment(container, objects)
            yield from literals(where, plain)
            yield from known(where, pod, {*plain, *by_secret})
            if of := SETTINGS.get(pod.component):
                yield from right(where, of, plain)
                yield from listening(where, container, plain)
                yield from room(where, pod, of, plain)
            yield from addressed(where, plain, reachable)


def environment(
    container: Object, objects: list[Object]
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Variables by value, and those by Secret and key; later ones win, as in Kubernetes."""
    maps = named(objects, "ConfigMap")
    plain: dict[str, str] = {}
    by_secret: dict[str, tuple[str, str]] = {}
    for source in container.get("envFrom") or []:
        name = (source.get("configMapRef") or {}).get("name")
        plain |= (maps.get(name) or {}).get("data") or {}
    for variable in container.get("env") or []:
        name, source = variable["name"], variable.get("valueFrom") or {}
        plain.pop(name, None)
        if secret := source.get("secretKeyRef"):
            by_secret[name] = (secret["name"], secret["key"])
        elif of_map := source.get("configMapKeyRef"):
            plain[name] = ((maps.get(of_map["name"]) or {}).get("data") or {}).get(of_map["key"], "")
        elif not source:
            plain[name] = variable.get("value", "")
    return plain, by_secret


def client_variables() -> set[str]:
    """What the SDK and its command line read, in services too."""
    texts = (path.read_text() for path in SDK.rglob("*.py"))
    return {name for text in texts for name in re.findall(r"INGRAIN_[A-Z0-9_]*[A-Z0-9]", text)}


def settings_variables(of: type[ServiceSettings]) -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in of.model_fields}


def known(where: str, pod: Pod, names: set[str]) -> Iterator[Finding]:
    of = SETTINGS.get(pod.component)
    read = client_variables() | (settings_variables(of) if of else set())
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in read:
            yield Finding(where, "variable-unknown", f"{name} is read by nobody there")


def right(where: str, of: type[ServiceSettings], plain: dict[str, str]) -> Iterator[Finding]:
    try:
        fields = {
            name.removeprefix(PREFIX).lower(): json.loads(value) if value[:1] in ("[", "{") else value
            for name, value in plain.items()
            if name.startswith(PREFIX)
        }
        of(**fields)
    except json.JSONDecodeError as error:
        yield Finding(where, "variable-value", f"{error.doc[:40]!r} is no JSON: {error.msg}")
    except ValidationError as error:
        for one in error.errors():
            yield Finding(where, "variable-value", f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}")


def listening(where: str, container: Object, plain: dict[str, str]) -> Iterator[Finding]:
    declared = {port.get("containerPort") for port in container.get("ports") or []}
    for name in PORTS:
        if name in plain and plain[name].isdigit() and int(plain[name]) not in declared:
            yield Finding(where, "port", f"listens on {plain[name]} ({name}), which is not declared")


# What a component may put on its scratch disk by itself, and how often; a volume over its limit ends the pod. An uploaded file lies there
# beside what is unpacked of it; a model is fetched while another one is packed.
ON_SCRATCH: dict[str, dict[str, int]] = {
    "augmenter": {"upload_bytes": 2, "import_bytes": 2},
    "trainer": {"model_size_limit_bytes": 2},
    "inference": {"spill_bytes": 1},
    "engines": {"spill_bytes": 1},
}


def room(where: str, pod: Pod, of: type[ServiceSettings], plain: dict[str, str]) -> Iterator[Finding]:
    held = ON_SCRATCH.get(pod.component)
    if not held or "headGroupSpec" in pod.path or plain.get("INGRAIN_INFERENCE_BACKEND") == "proxy":
        return  # no engine is there
    said = {name: plain.get(f"{PREFIX}{name.upper()}") for name in held}
    wanted = sum(times * int(said[name] or of.model_fields[name].default) for name, times in held.items())
    variables = " and ".join(f"{PREFIX}{name.upper()}" for name in held)
    (scratch,) = [volume for volume in pod.spec.get("volumes") or [] if volume["name"] == "scratch"]
    limit = quantity((scratch.get("emptyDir") or {}).get("sizeLimit"))
    if limit is not None and wanted > limit:
        yield Finding(
            where, "scratch", f"by {variables} {wanted} bytes, more than the volume of {limit:.0f} bytes"
        )


def literals(where: str, plain: dict[str, str]) -> Iterator[Finding]:
    """A path may stand under such a name, and how to prove oneself; never what proves it."""
    for name, value in plain.items():
        if _SECRET.search(name) and value and not value.startswith("/"):
            yield Finding(where, "secret-literal", f"{name} has its value in the manifest")


def addresses(objects: list[Object]) -> set[tuple[str, int]]:
    """Names and ports that answer in the namespace: Services, and those that KubeRay makes."""
    found = {
        (item["metadata"]["name"], port["port"])
        for item in objects
        if item.get("kind") == "Service"
        for port in item["spec"].get("ports") or []
    }
    for pod in pods(objects):
        # Of a RayJob's cluster nobody knows the name beforehand.
        if pod.is_ray and "headGroupSpec" in pod.path and pod.owner["kind"] != "RayJob":
            name = pod.owner["metadata"]["name"]
            for port in pod.spec["containers"][0].get("ports") or []:
                found.add((f"{name}-head-svc", port["containerPort"]))
                if port.get("name", "").startswith("serve"):
                    found.add((f"{name}-serve-svc", port["containerPort"]))
    return found


def addressed(where: str, plain: dict[str, str], reachable: set[tuple[str, int]]) -> Iterator[Finding]:
    for name, value in plain.items():
        found = _ADDRESS.match(value)
        if found and (found["host"], int(found["port"])) not in reachable:
            yield Finding(where, "address", f"{name}: nothing answers at {value}")
