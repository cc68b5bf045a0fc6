"""Rules for every pod: Pod Security `restricted`, images, resources, probes, mounts."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tools.k8s_check.objects import Finding, Object, Pod, pods

OWN_IMAGE = "ingrain/"  # made from deploy/docker; their digests are of whoever builds them
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAGGED = re.compile(r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$")
_QUANTITY = re.compile(r"^(?P<number>\d+(?:\.\d+)?|\.\d+)(?P<unit>|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)$")
_UNITS = {unit: Decimal(1000) ** power for power, unit in enumerate(("", "k", "M", "G", "T", "P", "E"))}
_UNITS |= {
    f"{unit}i": Decimal(1024) ** power
    for power, unit in enumerate(("", "K", "M", "G", "T", "P", "E"))
    if unit
}
_UNITS["m"] = Decimal(1) / 1000


def check(objects: list[Object], own_digests: bool = False) -> Iterator[Finding]:
    """`own_digests`: whether the platform's own images, too, must come by digest."""
    for pod in pods(objects):
        yield from pod_security(pod)
        yield from mounts(pod)
        yield from tokens(pod, objects)
        for container in pod.containers:
            where = f"{pod.where}/{container.get('name')}"
            yield from container_security(where, container, pod.spec)
            yield from image(where, container.get("image", ""), own_digests)
            yield from resources(where, container.get("resources") or {})
            yield from probes(where, container, pod)


def pod_security(pod: Pod) -> Iterator[Finding]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield Finding(pod.where, "pod-security", f"{name} is refused by Pod Security restricted")
    context = pod.spec.get("securityContext") or {}
    if context.get("sysctls"):
        yield Finding(pod.where, "pod-security", "sysctls are refused")
    if context.get("runAsUser") == 0:
        yield Finding(pod.where, "pod-security", "runs as root")
    for volume in pod.spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if refused := kinds - RESTRICTED_VOLUMES:
            yield Finding(pod.where, "pod-security", f"volume {volume.get('name')} is a {', '.join(refused)}")


def container_security(where: str, container: Object, spec: Object) -> Iterator[Finding]:
    own, of_pod = container.get("securityContext") or {}, spec.get("securityContext") or {}

    def effective(name: str) -> Any:
        return own.get(name, of_pod.get(name))

    if effective("runAsNonRoot") is not True:
        yield Finding(where, "pod-security", "runAsNonRoot is not true")
    if own.get("runAsUser") == 0:
        yield Finding(where, "pod-security", "runs as root")
    seccomp = (effective("seccompProfile") or {}).get("type")
    if seccomp not in ("RuntimeDefault", "Localhost"):
        yield Finding(where, "pod-security", f"seccompProfile is {seccomp}")
    yield from own_security(where, own)
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield Finding(where, "pod-security", f"hostPort {port['hostPort']}")


def own_security(where: str, context: Object) -> Iterator[Finding]:
    """What a container must say itself, whatever its pod says."""
    if context.get("privileged"):
        yield Finding(where, "pod-security", "privileged")
    if context.get("allowPrivilegeEscalation") is not False:
        yield Finding(where, "pod-security", "allowPrivilegeEscalation is not false")
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield Finding(where, "pod-security", "capabilities are not dropped")
    if added := set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield Finding(where, "pod-security", f"capabilities {', '.join(sorted(added))} are added")
    if context.get("readOnlyRootFilesystem") is not True:
        yield Finding(where, "read-only-root", "the root file system can be written")


def image(where: str, name: str, own_digests: bool) -> Iterator[Finding]:
    if _PINNED.search(name):
        return
    tag = _TAGGED.search(name)
    if not tag or tag["tag"] == "latest":
        yield Finding(where, "image", f"{name or 'no image'} names no version")
    elif own_digests or not name.startswith(OWN_IMAGE):
        yield Finding(where, "image", f"{name} is no digest")


def quantity(value: Any) -> Decimal | None:
    """None where it is none."""
    found = _QUANTITY.match(str(value))
    return Decimal(found["number"]) * _UNITS[found["unit"]] if found else None


def resources(where: str, asked: Object) -> Iterator[Finding]:
    requests, limits = asked.get("requests") or {}, asked.get("limits") or {}
    for kind, values in (("request", requests), ("limit", limits)):
        for name, value in values.items():
            if (amount := quantity(value)) is None:
                yield Finding(where, "quantity", f"{kind} {name}: {value} is no quantity")
            elif name == "nvidia.com/gpu" and amount != int(amount):
                yield Finding(where, "gpu", f"{value} GPUs; only whole ones can be had")
    if "memory" not in limits:
        yield Finding(where, "memory-limit", "no limit of memory")
    for name in set(requests) & set(limits):
        least, most = quantity(requests[name]), quantity(limits[name])
        if least is None or most is None:
            continue
        if least > most:
            yield Finding(where, "request-over-limit", f"{name}: requests {requests[name]} of {limits[name]}")
        elif name in ("memory", "nvidia.com/gpu") and least != most:
            yield Finding(where, "request-over-limit", f"{name}: request and limit differ")


def probes(where: str, container: Object, pod: Pod) -> Iterator[Finding]:
    ports = {port.get("name"): port.get("containerPort") for port in container.get("ports") or []}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(kind)
        if probe is None:
            if pod.owner.get("kind") in ("Deployment", "StatefulSet") and kind != "startupProbe":
                yield Finding(where, "probe", f"no {kind}")
            continue
        for way in ("grpc", "tcpSocket", "httpGet"):
            port = (probe.get(way) or {}).get("port")
            if port is not None and port not in ports and port not in ports.values():
                yield Finding(where, "probe", f"{kind} asks port {port}, which is not declared")


def mounts(pod: Pod) -> Iterator[Finding]:
    declared = {volume.get("name") for volume in pod.spec.get("volumes") or []}
    claims = (pod.owner.get("spec") or {}).get("volumeClaimTemplates") or []
    declared |= {claim["metadata"]["name"] for claim in claims}
    used = set()
    for container in pod.containers:
        paths = [mount.get("mountPath") for mount in container.get("volumeMounts") or []]
        for mount in container.get("volumeMounts") or []:
            used.add(mount.get("name"))
            if mount.get("name") not in declared:
                yield Finding(pod.where, "mount", f"{mount.get('name')} is mounted and not declared")
        if len(set(paths)) < len(paths):
            yield Finding(pod.where, "mount", f"two volumes at one place of {container.get('name')}")
    for name in declared - used:
        yield Finding(pod.where, "mount", f"{name} is declared and not mounted")


def tokens(pod: Pod, objects: list[Object]) -> Iterator[Finding]:
    """Only the autoscaler beside a Ray head asks Kubernetes for anything, and whose account a role is bound to."""
    asks = _autoscales(pod) or pod.spec.get("serviceAccountName") in bound(objects)
    if pod.spec.get("automountServiceAccountToken") is not False and not asks:
        yield Finding(pod.where, "service-account-token", "a token of Kubernetes is mounted")


def bound(objects: list[Object]) -> set[str]:
    """ServiceAccounts that may do something."""
    bindings = [item for item in objects if item.get("kind") == "RoleBinding"]
    return {subject["name"] for binding in bindings for subject in binding.get("subjects") or []}


def _autoscales(pod: Pod) -> bool:
    cluster = (pod.owner.get("spec") or {}).get("rayClusterConfig") or pod.owner.get("spec") or {}
    return pod.is_ray and "headGroupSpec" in pod.path and bool(cluster.get("enableInTreeAutoscaling"))
