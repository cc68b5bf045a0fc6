"""Whatever names something else names something that is there."""

import re
from collections import Counter
from collections.abc import Iterator

from tools.k8s_check.objects import Finding, Object, Pod, name_of, named, pods

API_VERSIONS = {
    "v1",
    "apps/v1",
    "batch/v1",
    "policy/v1",
    "autoscaling/v2",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "ray.io/v1",
    "kueue.x-k8s.io/v1beta1",
    "monitoring.coreos.com/v1",
}
CLUSTER_WIDE = {"Namespace", "ResourceFlavor", "ClusterQueue"}
_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
Secrets = dict[str, dict[str, str]]


def check(objects: list[Object], secrets: Secrets) -> Iterator[Finding]:
    """`secrets`: those that lie in the namespace beforehand, with their keys."""
    yield from identities(objects)
    all_pods = pods(objects)
    for pod in all_pods:
        yield from accounts(pod, objects)
        yield from sources(pod, objects, secrets)
    yield from selectors(objects, all_pods)
    yield from services(objects, all_pods)
    yield from scalers(objects)
    yield from volumes(objects)
    yield from roles(objects)


def identities(objects: list[Object]) -> Iterator[Finding]:
    for item in objects:
        name = (item.get("metadata") or {}).get("name", "")
        if item.get("apiVersion") not in API_VERSIONS:
            yield Finding(name_of(item), "api-version", f"{item.get('apiVersion')} is not known")
        if not _LABEL.match(name):
            yield Finding(name_of(item), "dns-name", f"{name!r} is no DNS label")
        inside = bool((item.get("metadata") or {}).get("namespace"))
        if inside == (item.get("kind") in CLUSTER_WIDE):
            yield Finding(name_of(item), "namespace", "a namespace where none belongs, or none")
    for name, count in Counter(map(name_of, objects)).items():
        if count > 1:
            yield Finding(name, "duplicate", f"is there {count} times")
    for pod in pods(objects):
        names = [p.get("name", "") for c in pod.containers for p in c.get("ports") or []]
        yield from (
            Finding(pod.where, "dns-name", f"{name!r} is no port's name")
            for name in [*names, *(c.get("name", "") for c in pod.containers)]
            if not _LABEL.match(name)
        )


def accounts(pod: Pod, objects: list[Object]) -> Iterator[Finding]:
    name = pod.spec.get("serviceAccountName", "default")
    if name not in named(objects, "ServiceAccount"):
        yield Finding(pod.where, "service-account", f"there is no ServiceAccount {name}")


def sources(pod: Pod, objects: list[Object], secrets: Secrets) -> Iterator[Finding]:
    """Secrets and ConfigMaps of variables and volumes."""
    maps = named(objects, "ConfigMap")
    for container in pod.containers:
        for variable in container.get("env") or []:
            source = variable.get("valueFrom") or {}
            secret = source.get("secretKeyRef")
            if secret and secret["key"] not in secrets.get(secret["name"], {}):
                yield Finding(pod.where, "secret", f"there is no {secret['name']}/{secret['key']}")
            if (of_map := source.get("configMapKeyRef")) and (
                of_map["key"] not in (maps.get(of_map["name"]) or {}).get("data", {})
            ):
                yield Finding(pod.where, "config-map", f"there is no {of_map['name']}/{of_map['key']}")
        for source in container.get("envFrom") or []:
            name = (source.get("configMapRef") or {}).get("name")
            if name and name not in maps:
                yield Finding(pod.where, "config-map", f"there is no ConfigMap {name}")
            if (name := (source.get("secretRef") or {}).get("name")) and name not in secrets:
                yield Finding(pod.where, "secret", f"there is no Secret {name}")
    for volume in pod.spec.get("volumes") or []:
        if secret := volume.get("secret"):
            keys = [item["key"] for item in secret.get("items") or []]
            missing = [key for key in keys if key not in secrets.get(secret["secretName"], {})]
            if secret["secretName"] not in secrets or missing:
                yield Finding(pod.where, "secret", f"there is no {secret['secretName']} {' '.join(missing)}")
        if (of_map := volume.get("configMap")) and of_map["name"] not in maps:
            yield Finding(pod.where, "config-map", f"there is no ConfigMap {of_map['name']}")


def selectors(objects: list[Object], all_pods: list[Pod]) -> Iterator[Finding]:
    for pod in all_pods:
        wanted = ((pod.owner.get("spec") or {}).get("selector") or {}).get("matchLabels")
        if wanted and not pod.is_ray and not wanted.items() <= pod.labels.items():
            yield Finding(pod.where, "selector", f"{wanted} does not select the object's own pods")
    for item in objects:
        if item.get("kind") == "PodDisruptionBudget":
            wanted = item["spec"].get("selector", {}).get("matchLabels") or {}
            if not any(wanted.items() <= pod.labels.items() for pod in all_pods):
                yield Finding(name_of(item), "selector", f"{wanted} selects no pod")


def services(objects: list[Object], all_pods: list[Pod]) -> Iterator[Finding]:
    for item in objects:
        if item.get("kind") != "Service":
            continue
        wanted = item["spec"].get("selector") or {}
        found = [pod for pod in all_pods if wanted and wanted.items() <= pod.labels.items()]
        if not found:
            yield Finding(name_of(item), "service-selector", f"{wanted} selects no pod")
            continue
        declared = [p for pod in found for c in pod.containers for p in c.get("ports") or []]
        for port in item["spec"].get("ports") or []:
            target = port.get("targetPort", port.get("port"))
            if not any(target in (p.get("name"), p.get("containerPort")) for p in declared):
                yield Finding(name_of(item), "service-port", f"no pod behind it has a port {target}")


def scalers(objects: list[Object]) -> Iterator[Finding]:
    for item in objects:
        if item.get("kind") != "HorizontalPodAutoscaler":
            continue
        target, spec = item["spec"]["scaleTargetRef"], item["spec"]
        scaled = named(objects, target["kind"]).get(target["name"])
        if scaled is None:
            yield Finding(name_of(item), "autoscaler", f"there is no {target['kind']} {target['name']}")
        elif "replicas" in scaled["spec"]:
            yield Finding(name_of(item), "autoscaler", "replicas in the manifest would undo it at each apply")
        if spec.get("minReplicas", 1) > spec["maxReplicas"]:
            yield Finding(name_of(item), "autoscaler", "minReplicas is over maxReplicas")


def volumes(objects: list[Object]) -> Iterator[Finding]:
    for item in objects:
        claims = [(item.get("spec") or {})] if item.get("kind") == "PersistentVolumeClaim" else []
        claims += [c["spec"] for c in (item.get("spec") or {}).get("volumeClaimTemplates") or []]
        for claim in claims:
            if set(claim.get("accessModes") or []) - {"ReadWriteOnce", "ReadWriteOncePod"}:
                yield Finding(name_of(item), "shared-volume", "a volume that several nodes would share")


def roles(objects: list[Object]) -> Iterator[Finding]:
    """Roles name what they allow, and are bound to accounts that are there."""
    for item in objects:
        if item.get("kind") == "Role":
            given = [
                name
                for rule in item["rules"]
                for part in ("apiGroups", "resources", "verbs")
                for name in rule.get(part) or []
            ]
            if "*" in given:
                yield Finding(name_of(item), "role", "allows everything of some kind")
        if item.get("kind") == "RoleBinding":
            wanted = [(item["roleRef"]["kind"], item["roleRef"]["name"])]
            wanted += [(subject["kind"], subject["name"]) for subject in item.get("subjects") or []]
            for kind, name in wanted:
                if name not in named(objects, kind):
                    yield Finding(name_of(item), "role", f"there is no {kind} {name}")
