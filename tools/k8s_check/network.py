"""Who may talk to whom, read out of the NetworkPolicies as Kubernetes reads them, and held against the picture.

A connection needs both sides: what the policies of its source let out and what those of its target let in. A side without any
policy lets everything pass.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from tools.k8s_check.objects import Finding, Object, pods

Edge = tuple[str, str, int]
SERVICES = {"augmenter": 7071, "trainer": 7072, "inference": 7073, "evaluator": 7074, "studies": 7075}
METRICS = 7091
PART = "app.kubernetes.io/component"
HOME = "ingrain"


@dataclass(frozen=True)
class End:
    """A pod, or somebody elsewhere; those have no policies of ours."""

    name: str
    namespace: str = HOME
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""
    ports: frozenset[int] = frozenset()

    @property
    def is_ours(self) -> bool:
        return self.namespace == HOME


ELSEWHERE = [
    End("internet", "", address="203.0.113.7", ports=frozenset({22, 53, 80, 443, 5432, 6443, 8333})),
    End("private", "", address="10.1.2.3", ports=frozenset({22, 53, 80, 443, 5432, 6443, 8333})),
    End("names", "kube-system", {"k8s-app": "kube-dns"}, ports=frozenset({53, 443})),
    End("operator", "kuberay-system", {"app.kubernetes.io/name": "kuberay-operator"}),
    End("monitoring", "monitoring", {"app": "prometheus"}),
    End("stranger", "somewhere", {"app": "stranger"}, ports=frozenset({80, 443})),
]


def expected(parts: set[str], policies: set[str]) -> set[Edge]:
    """The picture of docs/kubernetes.md, as far as its parts are there. DNS is everybody's.

    `policies`: names, of which some belong to what is there by choice.
    """
    edges: set[Edge] = {(end.name, "gateway", port) for end in ELSEWHERE for port in (7070, 7080)}
    for name, port in SERVICES.items():
        edges |= {("gateway", name, port), (name, "gateway", 7070)}
        edges |= {(name, "postgres", 5432), (name, "objects", 8333)}
    edges |= {
        ("gateway", "postgres", 5432),
        ("inference", "engines", 9000),
        ("inference", "engines-head", 9000),
    }
    # Jobs go to the dashboard of a Ray that stands; clusters of RayJobs are asked by KubeRay alone, and the trainer asks Kubernetes.
    edges |= {("trainer", "training", 8265)} if "training-head" not in parts else set()
    asking = {"engines-head", "trainer"} if "training-head" in parts else {"engines-head"}
    for name in ("engines", "training"):
        ends = (name, f"{name}-head")
        edges |= {(a, b, port) for a in ends for b in ends for port in RAY}
        edges |= {(end, "objects", 8333) for end in ends}
        edges |= {("operator", f"{name}-head", 8265)}
        edges |= {("monitoring", end, 8080) for end in ends}
    edges |= {(source, "private", port) for source in asking for port in (443, 6443)}
    if "metrics-of-services" in policies:
        edges |= {("monitoring", part, METRICS) for part in ("gateway", *SERVICES)}
    edges |= {(part, "names", 53) for part in parts}
    if "keys-of-the-cluster" in policies:
        edges |= {("gateway", "private", port) for port in (443, 6443)}
    if "external-stores" in policies:
        inside = {"gateway", *SERVICES, "engines", "training", "engines-head", "training-head"}
        edges |= {(part, "private", port) for part in inside for port in (443, 5432)}
    return edges


RAY = {6379, 8000, 8080, 8265, 9000}
OPTIONAL = {"operator", "monitoring"}  # who asks only where it is installed
OPTIONAL_PORTS = {443, 6443}


def ends(objects: list[Object]) -> list[End]:
    found = []
    for pod in pods(objects):
        head = pod.is_ray and "headGroupSpec" in pod.path
        labels = dict(pod.labels)
        if pod.is_ray:
            labels["ray.io/node-type"] = "head" if head else "worker"
        ports = {p["containerPort"] for c in pod.containers for p in c.get("ports") or []}
        name = f"{pod.component}-head" if head else pod.component
        found.append(End(name, HOME, labels, ports=frozenset(ports)))
    return found


def check(objects: list[Object]) -> Iterator[Finding]:
    policies = [item for item in objects if item.get("kind") == "NetworkPolicy"]
    if not any(_denies_all(policy) for policy in policies):
        yield Finding("NetworkPolicy", "network-default", "nothing is refused by default")
        return
    ours = ends(objects)
    parts = {end.name for end in ours}
    wanted = expected(parts, {policy["metadata"]["name"] for policy in policies})
    found = picture(ours, policies)
    for source, target, port in sorted(found - wanted):
        yield Finding(f"{source} -> {target}:{port}", "network-picture", "is allowed and not in the picture")
    everybody = {end.name: end for end in [*ours, *ELSEWHERE]}
    for source, target, port in sorted(wanted - found):
        there = source in everybody and target in everybody and port in everybody[target].ports
        if there and source not in OPTIONAL and port not in OPTIONAL_PORTS:
            yield Finding(
                f"{source} -> {target}:{port}", "network-picture", "is in the picture and not allowed"
            )


def picture(ours: list[End], policies: list[Object]) -> set[Edge]:
    everybody = [*ours, *ELSEWHERE]
    return {
        (source.name, target.name, port)
        for source in everybody
        for target in everybody
        if source.is_ours or target.is_ours
        for port in target.ports
        if passes(policies, source, target, port)
    }


def passes(policies: list[Object], source: End, target: End, port: int) -> bool:
    out = _side(policies, "Egress", source, target, port)
    return out and _side(policies, "Ingress", target, source, port)


def _side(policies: list[Object], way: str, end: End, other: End, port: int) -> bool:
    mine = [
        policy["spec"]
        for policy in policies
        if end.is_ours
        and way in policy["spec"].get("policyTypes", ["Ingress"])
        and selects(policy["spec"].get("podSelector") or {}, end.labels)
    ]
    if not mine:
        return True
    rules = [rule for spec in mine for rule in spec.get(way.lower()) or []]
    peers = "to" if way == "Egress" else "from"
    return any(_has_port(rule, port) and _has_peer(rule.get(peers), other) for rule in rules)


def _has_port(rule: Object, port: int) -> bool:
    ports = rule.get("ports")
    return ports is None or any(one.get("port") in (None, port) for one in ports)


def _has_peer(peers: list[Object] | None, other: End) -> bool:
    return peers is None or any(_is_peer(peer, other) for peer in peers)


def _is_peer(peer: Object, other: End) -> bool:
    if block := peer.get("ipBlock"):
        return bool(other.address) and ipaddress.ip_address(other.address) in ipaddress.ip_network(
            block["cidr"]
        )
    if other.address:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif not other.is_ours:
        return False
    return selects(peer.get("podSelector") or {}, other.labels)


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Of labels' selectors: matchLabels, and In, NotIn, Exists and DoesNotExist of matchExpressions."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions") or []:
        value, values = labels.get(expression["key"]), expression.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[expression["operator"]]:
            return False
    return True


def _denies_all(policy: Object) -> bool:
    spec = policy["spec"]
    both = {"Ingress", "Egress"} <= set(spec.get("policyTypes") or [])
    return both and not spec.get("podSelector") and not spec.get("ingress") and not spec.get("egress")
