"""One child in its own session and process group; only such groups are ever signalled."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.supervisor.plan import HOST, Child

QUICK_DEATH_S = 10.0
MOST_QUICK_DEATHS = 5


class Process:
    def __init__(self, child: Child, log_dir: Path) -> None:
        self.child = child
        self.log = log_dir / f"{child.name}.log"
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._quick_deaths = 0
        self._not_before = 0.0

    def start(self) -> None:
        self._started, self._not_before = time.monotonic(), 0.0
        # Between processes of one machine nothing is encrypted; a TLS of the caller's is for another platform.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("INGRAIN_TLS_")}
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.child.command,
                env=inherited | self.child.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid if self._popen else 0

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def restart_if_dead(self) -> bool:
        """Starts it again, later and later the more quickly it dies. RuntimeError once that is hopeless."""
        if self.running or time.monotonic() < self._not_before:
            return False
        if self._not_before == 0.0:
            quick = time.monotonic() - self._started < QUICK_DEATH_S
            self._quick_deaths = self._quick_deaths + 1 if quick else 0
            if self._quick_deaths >= MOST_QUICK_DEATHS:
                raise RuntimeError(
                    f"{self.child.name} died {MOST_QUICK_DEATHS} times at once; its log is {self.log}"
                )
            self._end_group(signal.SIGKILL)  # what it left behind
            self._not_before = time.monotonic() + min(5.0, 0.2 * 2.0**self._quick_deaths)
            return False
        self.start()
        return True

    def restart(self) -> None:
        """At once and without regard to its calls: what it stands on is gone."""
        self.stop(timeout_s=0.0)
        self.start()

    def healthy(self) -> bool:
        if self.child.health is None:
            return self.running
        with grpc.insecure_channel(f"{HOST}:{self.child.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(service=self.child.health), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def stop(self, timeout_s: float) -> None:
        """SIGTERM to the process, which ends its own; SIGKILL to what is left of its group."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout_s)
        self._end_group(signal.SIGKILL)
        self._popen.wait()

    def _end_group(self, number: signal.Signals) -> None:
        if self._popen is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)
