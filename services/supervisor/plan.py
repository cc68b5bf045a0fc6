"""Which processes make a platform on one machine, and what each is told. Pure but for asking for free ports."""

import os
import secrets
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from services.supervisor.kin import mark

HOST = "127.0.0.1"
SERVICES = ("gateway", "augmenter", "trainer", "inference", "evaluator", "studies")
# What each service registers; health is asked for it.
HEALTH_NAME = {
    "gateway": "",
    "augmenter": "ingrain.v1.Augmenter",
    "trainer": "ingrain.v1.Trainer",
    "inference": "ingrain.v1.Inference",
    "evaluator": "ingrain.v1.Evaluator",
    "studies": "ingrain.v1.Studies",
}
RAY_CPUS = 8  # logical: a replica takes half of one, a training worker one; threads are one each
RAY_OBJECT_STORE_BYTES = 200_000_000


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    data_dir: Path
    port: int = 7070
    http_port: int = 7080
    services: tuple[str, ...] = SERVICES
    storage: str = ""  # default: a folder under data_dir
    import_root: Path | None = None
    with_ray: bool = True


@dataclass(frozen=True)
class Child:
    """A process to run: `variables` are added to the environment, `health` is asked of `port`."""

    name: str
    command: tuple[str, ...]
    variables: dict[str, str] = field(repr=False)  # holds tokens
    port: int = 0
    health: str | None = None
    holds_ray: bool = False  # it is connected to Ray's head, and does not outlive it


@dataclass(frozen=True)
class Plan:
    gateway: str
    http: str  # where OpenAI's clients find it
    import_root: str
    ray_temp: Path
    ray: Child | None
    services: tuple[Child, ...]


def make_plan(options: Options, ray_temp: Path) -> Plan:
    ports = dict(zip(SERVICES, free_ports(len(SERVICES), first=options.port), strict=True))
    (http_port,) = free_ports(1, first=options.http_port)
    ray_ports = dict(zip(RAY_PORTS, free_ports(len(RAY_PORTS)), strict=True))
    ray_variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ADDRESS": f"{HOST}:{ray_ports['port']}",
        "INGRAIN_RAY_DASHBOARD": f"http://{HOST}:{ray_ports['dashboard-port']}",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # services have drained before Ray is stopped
        "RAY_DEDUP_LOGS": "0",
    }
    gateway = f"{HOST}:{ports['gateway']}"
    import_root = str(options.import_root or os.environ.get("INGRAIN_IMPORT_ROOT") or Path.cwd())
    common = {
        **mark(options.data_dir),
        # On shared cores two threads in one process are several times slower than one.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "DS_ACCELERATOR": os.environ.get("DS_ACCELERATOR", "cpu"),
        "INGRAIN_HOST": HOST,
        "INGRAIN_GATEWAY": gateway,
        "INGRAIN_HTTP_PORT": str(http_port),
        "INGRAIN_SERVICE_TOKEN": secrets.token_hex(32),
        "INGRAIN_GATEWAY_TOKEN": secrets.token_hex(32),
        "INGRAIN_STORAGE": options.storage or f"file://{options.data_dir / 'storage'}",
        "INGRAIN_IMPORT_ROOT": import_root,
        **{
            f"INGRAIN_BACKEND_{name.upper()}": f"{HOST}:{port}"
            for name, port in ports.items()
            if name != "gateway"
        },
        **ray_variables,
    }
    services = tuple(
        service(name, ports[name], common, options) for name in SERVICES if name in options.services
    )
    ray = ray_head(ray_ports, ray_temp, common) if options.with_ray else None
    return Plan(gateway, f"http://{HOST}:{http_port}/v1", import_root, ray_temp, ray, services)


def service(name: str, port: int, common: dict[str, str], options: Options) -> Child:
    # A platform without inference has nobody who could check what was trained.
    unchecked = {} if "inference" in options.services else {"INGRAIN_VERIFY_PARITY": "false"}
    variables = {
        **common,
        **unchecked,
        "INGRAIN_PORT": str(port),
        "INGRAIN_SCRATCH": str(options.data_dir / "scratch" / name),
        # A server's SQL comes by INGRAIN_DATABASE_URL; each service then has a schema of its own there.
        "INGRAIN_DATABASE_URL": os.environ.get(
            "INGRAIN_DATABASE_URL", f"sqlite:///{options.data_dir / 'db' / name}.sqlite"
        ),
    }
    command = (sys.executable, "-m", f"services.{name}")
    return Child(name, command, variables, port, HEALTH_NAME[name], holds_ray=name == "inference")


RAY_PORTS = (
    "port",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


def ray_head(ports: dict[str, int], temp: Path, variables: dict[str, str]) -> Child:
    """In the foreground and with ports of its own: other Rays on the machine are never touched."""
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--block",
        f"--node-ip-address={HOST}",
        "--dashboard-host=127.0.0.1",
        "--include-dashboard=true",
        f"--num-cpus={RAY_CPUS}",
        f"--object-store-memory={RAY_OBJECT_STORE_BYTES}",
        f"--temp-dir={temp}",
        "--disable-usage-stats",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    # A head that finds an address in its environment would join that cluster instead of making one.
    return Child(
        "ray", tuple(command), {k: v for k, v in variables.items() if k != "RAY_ADDRESS"}, ports["port"]
    )


def free_ports(count: int, first: int = 0) -> list[int]:
    """`first`, `first` + 1, ... where free, else any free ones. Held open together, so that they differ."""
    sockets: list[socket.socket] = []
    try:
        for index in range(count):
            wished = first + index if first else 0
            s = socket.socket()
            try:
                s.bind((HOST, wished))
            except OSError:
                s.bind((HOST, 0))
            sockets.append(s)
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()
