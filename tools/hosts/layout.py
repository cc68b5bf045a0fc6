"""Which process runs on which host, by the command and the environment of its manifest in `overlays/laptop`."""

import importlib.util
import json
import os
import secrets
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.supervisor.plan import HEALTH_NAME
from tools.hosts.network import HOME, NETWORK, Host, Network, until
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file, pods
from tools.k8s_check.variables import environment

WORKERS = ("ray-worker-1", "ray-worker-2")
HOSTS = ("gateway", "services", "inference", "objects", "database", "ray-head", *WORKERS)
# Names of the manifests' Services that are not a host's own.
NAMES = {
    "augmenter": "services",
    "trainer": "services",
    "evaluator": "services",
    "studies": "services",
    "postgres": "database",
    "training-head-svc": "ray-head",
}
PORTS = {
    "gateway": 7070,
    "augmenter": 7071,
    "trainer": 7072,
    "inference": 7073,
    "evaluator": 7074,
    "studies": 7075,
}
GCS_PORT, DASHBOARD_PORT = 6379, 8265
OBJECT_STORE = "--object-store-memory=100000000"
DATABASE_USER = 65534  # PostgreSQL does not run as root
BIN = Path(sys.executable).parent
START_S = 600.0


class Platform:
    """Everything on its host. `operator_token` opens the gateway at `target`; `changes` are variables of all services that
    are not as in their manifests."""

    def __init__(self, network: Network, changes: Mapping[str, str] | None = None) -> None:
        self.network, self.changes = network, dict(changes or {})
        self.objects = load_file(rendering.Variant("laptop").golden)
        self.pods = {pod.component: pod for pod in pods(self.objects)}
        random = {
            name: secrets.token_hex(32) for name in ("service-token", "gateway-token", "operator-token")
        }
        self.operator_token = random["operator-token"]
        self.password, self.ray_token = secrets.token_hex(16), secrets.token_hex(32)
        url = f"postgresql+psycopg://ingrain:{self.password}@postgres:5432/postgres"
        self.secrets = {
            **{("ingrain-identity", name): value for name, value in random.items()},
            ("ingrain-database", "url"): url,
            ("ingrain-s3", "access-key"): "ingrain",
            ("ingrain-s3", "secret-key"): secrets.token_hex(16),
            ("ingrain-ray", "auth_token"): self.ray_token,
        }
        self.target = f"{network['gateway'].address}:{PORTS['gateway']}"

    def start(self) -> None:
        """Returns when every service is healthy and Ray has all its nodes."""
        self.start_objects(self.network["objects"])
        self.start_database(self.network["database"])
        self.start_head(self.network["ray-head"])
        self.start_services(tuple(PORTS))
        for name in WORKERS:
            self.start_worker(self.network[name])
        until("Ray has its nodes", lambda: self.ray_nodes() == 1 + len(WORKERS), START_S, 1.0)

    def start_objects(self, host: Host) -> None:
        access, secret = self.secrets["ingrain-s3", "access-key"], self.secrets["ingrain-s3", "secret-key"]
        command = [
            str(BIN / "rclone"),
            "serve",
            "s3",
            str(HOME / "objects"),
            "--addr",
            f"{host.address}:8333",
        ]
        (host.folder / "objects").mkdir()
        host.start("objects", command, {**own(), "RCLONE_AUTH_KEY": f'"{access},{secret}"'})

    def start_database(self, host: Host) -> None:
        programs = Path(_package("pgserver")).parent / "pginstall" / "bin"
        data, file = HOME / "data", host.folder / "password"
        file.write_text(self.password)
        for path in (host.folder, file):
            os.chown(path, DATABASE_USER, DATABASE_USER)
        options = [
            "--username=ingrain",
            "--auth=scram-sha-256",
            f"--pwfile={HOME / 'password'}",
            "--encoding=UTF8",
        ]
        host.run(str(programs / "initdb"), "-D", str(data), *options, user=DATABASE_USER)
        with (host.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
        command = [
            str(programs / "postgres"),
            "-D",
            str(data),
            "-h",
            host.address,
            "-p",
            "5432",
            "-k",
            str(HOME),
        ]
        host.start("postgres", command, own(), user=DATABASE_USER)

    def start_services(self, names: Sequence[str]) -> None:
        """Returns when they are healthy."""
        for name in names:
            host = self.network[NAMES.get(name, name)]
            host.start(name, [sys.executable, "-m", f"services.{name}"], self.variables(name, host))
        for name in names:
            until(f"{name} is healthy", partial(self.healthy, name), START_S)

    def start_head(self, host: Host) -> None:
        options = [
            "--head",
            f"--port={GCS_PORT}",
            f"--dashboard-host={host.address}",
            "--include-dashboard=true",
        ]
        options += [f"--dashboard-port={DASHBOARD_PORT}", "--num-cpus=0", f"--temp-dir={HOME / 'ray'}"]
        self.start_ray(host, options)

    def start_worker(self, host: Host) -> None:
        self.start_ray(host, [f"--address=training-head-svc:{GCS_PORT}", "--num-cpus=1"])

    def start_ray(self, host: Host, options: list[str]) -> None:
        command = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", OBJECT_STORE]
        command += [f"--node-ip-address={host.address}", *options]
        host.start("ray", command, self.variables("training", host))

    def variables(self, component: str, host: Host) -> dict[str, str]:
        """The manifest's, but for what this machine's folders and interpreter are, and that it listens on its host's address only."""
        (container,) = self.pods[component].containers
        plain, by_secret = environment(container, self.objects)
        here = {**own(), "INGRAIN_HOST": host.address, "INGRAIN_SCRATCH": str(HOME / "scratch")}
        if "INGRAIN_RAY_PYTHON" in plain:
            here["INGRAIN_RAY_PYTHON"] = sys.executable
        return {
            **plain,
            **{name: self.secrets[source] for name, source in by_secret.items()},
            **here,
            **self.changes,
        }

    def healthy(self, name: str) -> bool:
        host = self.network[NAMES.get(name, name)]
        with grpc.insecure_channel(f"{host.address}:{PORTS[name]}") as channel:
            request = health_pb2.HealthCheckRequest(service=HEALTH_NAME[name])
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=3)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def ray_nodes(self) -> int:
        """How many are alive, as the head's dashboard says; 0 where it does not answer."""
        url = f"http://{self.network['ray-head'].address}:{DASHBOARD_PORT}/nodes?view=summary"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.ray_token}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                nodes = json.load(answer)["data"]["summary"]
        except (OSError, ValueError):
            return 0
        return sum(node["raylet"].get("state") == "ALIVE" for node in nodes)


def own() -> dict[str, str]:
    """What an image would set."""
    return {"PATH": os.environ["PATH"], "HOME": str(HOME), "TMPDIR": str(HOME), "RAY_TMPDIR": str(HOME)}


def _package(name: str) -> str:
    """Where it lies; it is not imported, for it would look for a server of its own."""
    found = importlib.util.find_spec(name)
    assert found
    assert found.origin
    return found.origin
