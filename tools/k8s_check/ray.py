"""Rules for KubeRay's kinds, and for a Ray that is started by hand."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from services.inference.serveproxy import APPLICATION
from tools.k8s_check.objects import Finding, Object, Pod, name_of, pods
from tools.k8s_check.pods import own_security
from tools.k8s_check.references import Secrets

ROOT = Path(__file__).parents[2]
RAY_PORTS = {6379, 8265, 10001, 9000, 8000}  # whoever reaches one of them can run code


def check(objects: list[Object], secrets: Secrets) -> Iterator[Finding]:
    for item in objects:
        spec = item.get("spec") or {}
        places = {
            "RayCluster": spec,
            "RayService": spec.get("rayClusterConfig"),
            "RayJob": spec.get("rayClusterSpec"),
        }
        if cluster := places.get(item.get("kind", "")):
            yield from of_cluster(name_of(item), cluster, secrets)
        if item.get("kind") == "RayService":
            yield from serving(item)
        if item.get("kind") == "RayJob":
            yield from attempting(item)
    yield from exposed(objects)
    for pod in pods(objects):
        yield from by_hand(pod)


def of_cluster(where: str, cluster: Object, secrets: Secrets) -> Iterator[Finding]:
    authentication = cluster.get("authOptions") or {}
    if authentication.get("mode") != "token":
        yield Finding(where, "ray-authentication", "Ray's token authentication is off")
    elif "auth_token" not in secrets.get(authentication.get("secretName", ""), {}):
        yield Finding(where, "ray-authentication", "authOptions.secretName names no Secret with auth_token")
    if cluster.get("rayVersion") != (wanted := pinned("ray")):
        yield Finding(where, "ray-version", f"rayVersion is {cluster.get('rayVersion')}; locked is {wanted}")
    groups = cluster.get("workerGroupSpecs") or []
    for group in groups:
        least, now, most = (group.get(name, 0) for name in ("minReplicas", "replicas", "maxReplicas"))
        if not least <= now <= most:
            yield Finding(
                where, "ray-replicas", f"{group.get('groupName')}: {least} <= {now} <= {most} is wrong"
            )
    templates = [(cluster.get("headGroupSpec") or {}).get("template"), *(g.get("template") for g in groups)]
    images = {c["image"] for t in templates if t for c in t["spec"]["containers"][:1]}
    if len(images) > 1:
        yield Finding(where, "ray-image", f"nodes of one cluster have {len(images)} images")
    if cluster.get("enableInTreeAutoscaling"):
        options = cluster.get("autoscalerOptions") or {}
        yield from own_security(f"{where}/autoscaler", options.get("securityContext") or {})
        if "memory" not in ((options.get("resources") or {}).get("limits") or {}):
            yield Finding(f"{where}/autoscaler", "memory-limit", "no limit of memory")
    if (cluster.get("headGroupSpec") or {}).get("serviceType") in ("LoadBalancer", "NodePort"):
        yield Finding(where, "ray-exposed", "the head can be reached from outside")


def serving(service: Object) -> Iterator[Finding]:
    where, spec = name_of(service), service["spec"]
    try:
        config = yaml.safe_load(spec.get("serveConfigV2") or "")
        applications, grpc = config["applications"], config["grpc_options"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        yield Finding(where, "serve-config", f"serveConfigV2 cannot be read: {error!r}")
        return
    if APPLICATION not in [application.get("name") for application in applications]:
        yield Finding(where, "serve-config", f"no application {APPLICATION}, which the door asks for")
    places = [application.get("import_path", "") for application in applications]
    places += [":".join(path.rsplit(".", 1)) for path in grpc.get("grpc_servicer_functions") or []]
    for place in places:
        if not importable(place):
            yield Finding(where, "serve-config", f"{place} is not in this repository")
    head = ((spec.get("rayClusterConfig") or {}).get("headGroupSpec") or {}).get("template") or {}
    containers = (head.get("spec") or {}).get("containers") or [{}]
    ports = {p.get("name"): p.get("containerPort") for p in containers[0].get("ports") or []}
    if ports.get("serve-grpc") != grpc.get("port") or ports.get("serve") != config["http_options"]["port"]:
        yield Finding(where, "serve-config", "ports of serveConfigV2 and of the containers differ")


def attempting(job: Object) -> Iterator[Finding]:
    """What the trainer makes attempts of: it tries again itself, and nobody else would take a cluster away."""
    where, spec = name_of(job), job["spec"]
    if spec.get("backoffLimit") != 0:
        yield Finding(where, "ray-job", "backoffLimit is not 0: KubeRay would run an attempt twice")
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield Finding(where, "ray-job", "shutdownAfterJobFinishes is not true: its cluster stays")
    if "submitterPodTemplate" not in spec and spec.get("submissionMode") != "HTTPMode":
        yield Finding(where, "ray-job", "a pod submits it that Pod Security restricted refuses")


def importable(place: str) -> bool:
    """Whether `module:name` is defined here. Read, not imported: importing it would need Ray."""
    module, _, name = place.partition(":")
    file = ROOT / Path(*module.split(".")).with_suffix(".py")
    if not file.exists():
        return False
    return any(getattr(node, "name", "") == name for node in ast.parse(file.read_text()).body)


def exposed(objects: list[Object]) -> Iterator[Finding]:
    for item in objects:
        if item.get("kind") == "Ingress":
            yield Finding(name_of(item), "ray-exposed", "an Ingress; callers come by the gateway's Service")
        if item.get("kind") == "Service" and item["spec"].get("type") in ("LoadBalancer", "NodePort"):
            targets: set[Any] = {p.get("port") for p in item["spec"].get("ports") or []}
            if targets & RAY_PORTS:
                yield Finding(name_of(item), "ray-exposed", "Ray can be reached from outside of the cluster")


def by_hand(pod: Pod) -> Iterator[Finding]:
    for container in pod.containers:
        if pod.is_ray or (container.get("command") or [""])[0] != "ray":
            continue
        given = {variable["name"]: variable for variable in container.get("env") or []}
        token = (given.get("RAY_AUTH_TOKEN") or {}).get("valueFrom") or {}
        if (given.get("RAY_AUTH_MODE") or {}).get("value") != "token" or "secretKeyRef" not in token:
            yield Finding(pod.where, "ray-authentication", "Ray's token authentication is off")


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return found[1] if found else ""
