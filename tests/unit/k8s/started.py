"""Containers of a manifest as processes of this machine: their command, their environment, their probes.

Secrets are made up, addresses in the namespace become loopback ones, each container's ports become free ones; all else stays.
"""

import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.supervisor.plan import free_ports
from tools.k8s_check.objects import Object, Pod, pods
from tools.k8s_check.variables import PORTS, environment

_ADDRESS = re.compile(r"^(?P<scheme>https?://)?(?P<host>[a-z][a-z0-9-]*):(?P<port>\d+)$")


@dataclass
class Namespace:
    """What the containers of one rendering find around them."""

    objects: list[Object]
    folder: Path
    secrets: dict[tuple[str, str], str]
    files: dict[str, Path] = field(default_factory=dict)  # by mount path: what lies there
    addresses: dict[tuple[str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Every Service's and every container's port leads to a free port of this machine."""
        services = [item for item in self.objects if item["kind"] == "Service"]
        wanted = [
            (item["metadata"]["name"], port["port"]) for item in services for port in item["spec"]["ports"]
        ]
        for pod in pods(self.objects):  # ports for probes alone
            wanted += [
                (pod.component, port["containerPort"])
                for c in pod.containers
                for port in c.get("ports") or []
            ]
        wanted = [place for place in dict.fromkeys(wanted) if place not in self.addresses]
        for place, free in zip(wanted, free_ports(len(wanted)), strict=True):  # together, so that they differ
            self.addresses[place] = f"127.0.0.1:{free}"

    def pod(self, component: str) -> Pod:
        (found,) = [pod for pod in pods(self.objects) if pod.component == component]
        return found

    def port(self, component: str, declared: int) -> int:
        return int(self.addresses[(component, declared)].rpartition(":")[2])

    def local(self, value: str) -> str:
        if value == "0.0.0.0":
            return "127.0.0.1"
        for place, path in self.files.items():
            if value.startswith(place + "/"):
                return str(path / value.removeprefix(place + "/"))
        if found := _ADDRESS.match(value):
            address = self.addresses[(found["host"], int(found["port"]))]
            return f"{found['scheme'] or ''}{address}"
        return value


class Started:
    """One container, started. Ports that it declares are asked for by its probes."""

    def __init__(self, namespace: Namespace, component: str) -> None:
        self.namespace, self.component = namespace, component
        pod = namespace.pod(component)
        (self.container,) = pod.containers
        self.log = namespace.folder / f"{component}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                stdout=log,
                stderr=log,
                cwd=namespace.folder,
                start_new_session=True,
            )

    def command(self) -> list[str]:
        command = [*self.container["command"], *self.container.get("args", [])]
        return [sys.executable if command[0] == "python" else command[0], *command[1:]]

    def environment(self) -> dict[str, str]:
        """Nothing of this test's own environment but what an image would set."""
        plain, by_secret = environment(self.container, self.namespace.objects)
        given = {name: self.namespace.local(value) for name, value in plain.items()}
        given |= {name: self.namespace.secrets[source] for name, source in by_secret.items()}
        for name in PORTS:
            if name in given:
                given[name] = str(self.namespace.port(self.component, int(given[name])))
        scratch = self.namespace.folder / self.component
        scratch.mkdir(exist_ok=True)
        given |= {"INGRAIN_SCRATCH": str(scratch), "HOME": str(scratch), "TMPDIR": str(scratch)}
        return {"PATH": os.environ["PATH"], **given}

    def answers(self, kind: str) -> bool:
        """Whether the probe of this kind says yes, as the kubelet would ask."""
        probe = self.container[kind]
        if "grpc" in probe:
            return self._serves(probe["grpc"]["port"], probe["grpc"].get("service", ""))
        if "tcpSocket" in probe:
            return self._listens(probe["tcpSocket"]["port"])
        return self._gets(probe["httpGet"])

    def until(self, kind: str, limit_s: float = 120.0) -> None:
        deadline = time.monotonic() + limit_s
        while not self.answers(kind):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, (
                f"{kind} said no for {limit_s:g} s\n{self.log.read_text()[-3000:]}"
            )
            time.sleep(0.2)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def _port(self, port: int | str) -> int:
        by_name = {one["name"]: one["containerPort"] for one in self.container["ports"]}
        return self.namespace.port(self.component, by_name.get(port, port))

    def _serves(self, port: int, service: str) -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{self._port(port)}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=service), timeout=3
                )
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _listens(self, port: int | str) -> bool:
        with closing(socket.socket()) as s:
            s.settimeout(1)
            return s.connect_ex(("127.0.0.1", self._port(port))) == 0

    def _gets(self, get: Object) -> bool:
        """As the kubelet, which believes every certificate."""
        scheme = get.get("scheme", "HTTP").lower()
        context = ssl._create_unverified_context() if scheme == "https" else None
        url = f"{scheme}://127.0.0.1:{self._port(get['port'])}{get['path']}"
        try:
            with urllib.request.urlopen(url, timeout=3, context=context) as answer:
                return 200 <= answer.status < 400
        except (urllib.error.URLError, OSError):
            return False
