"""A platform of this machine's own, whose addresses and tokens are known: so that each of its doors can be asked by itself."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingrain import AsyncClient
from ingrain.channel import Metadata
from servicekit import identity
from services.supervisor.plan import Child, Options, Plan, free_ports, make_plan
from tools.platform import START_TIMEOUT_S, stop, wait_for_port

SERVICES = ("gateway", "augmenter", "trainer", "inference")


@dataclass(frozen=True)
class Running:
    plan: Plan

    @property
    def inference(self) -> Child:
        return next(child for child in self.plan.services if child.name == "inference")

    def gateway(self) -> AsyncClient:
        return AsyncClient(self.plan.gateway)

    def door(self, port: int = 0) -> AsyncClient:
        """Past the gateway, as the gateway would speak; the platform's own where no port is given."""
        metadata: Metadata = (
            (identity.GATEWAY_TOKEN, self.inference.variables["INGRAIN_GATEWAY_TOKEN"]),
            (identity.CALLER_KIND, "user"),
            (identity.CALLER_ID, "bench"),
            (identity.CALLER_PROJECT, "projects/default"),
        )
        return AsyncClient(f"127.0.0.1:{port or self.inference.port}", metadata=metadata)

    @contextmanager
    def beside(self, variables: dict[str, str]) -> Iterator[int]:
        """A second door, which asks by Serve's proxy and has no way to Ray; its port."""
        (port,) = free_ports(1)
        known = {key: value for key, value in self.inference.variables.items() if not key.startswith("RAY_")}
        with tempfile.TemporaryDirectory(prefix="ib") as folder:
            own = {
                "INGRAIN_INFERENCE_BACKEND": "proxy",
                "INGRAIN_PORT": str(port),
                "INGRAIN_DATABASE_URL": f"sqlite:///{folder}/inference.db",
            }
            process = subprocess.Popen(
                self.inference.command,
                env=os.environ | known | variables | own,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                wait_for_port(port, START_TIMEOUT_S)
                yield port
            finally:
                stop(process)


@contextmanager
def platform(before_doors: Callable[[Running], None] = lambda running: None) -> Iterator[Running]:
    """Ray, then `before_doors`, then the services; all end with the block."""
    with tempfile.TemporaryDirectory(prefix="ib") as folder:
        root, processes = Path(folder), []
        for name in ("db", "ray"):
            (root / name).mkdir()
        plan = make_plan(Options(root, port=0, services=SERVICES), root / "ray")
        assert plan.ray is not None
        with (root / "log").open("w") as log:

            def start(child: Child) -> None:
                processes.append(
                    subprocess.Popen(
                        child.command,
                        env=os.environ | child.variables,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
                wait_for_port(child.port, START_TIMEOUT_S)

            try:
                start(plan.ray)
                running = Running(plan)
                before_doors(running)
                for child in plan.services:
                    start(child)
                yield running
            finally:
                for process in reversed(processes):
                    stop(process)
