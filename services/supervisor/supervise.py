"""Ray's head first, then the services; ready when all are healthy; what dies is started again."""

import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from services.supervisor.plan import HOST, Options, Plan, make_plan
from services.supervisor.process import Process

READY_TIMEOUT_S = 180.0
POLL_S = 0.3
SERVICE_STOP_S = 25.0
RAY_STOP_S = 20.0


class AlreadyRunning(RuntimeError):
    """A platform runs on this data folder."""


def supervise(options: Options) -> None:
    """Until SIGTERM or SIGINT. RuntimeError when a service cannot be kept alive or ready in time."""
    run_dir, log_dir = options.data_dir / "run", options.data_dir / "logs"
    for folder in (run_dir, log_dir, options.data_dir / "db", options.data_dir / "scratch"):
        folder.mkdir(parents=True, exist_ok=True)
    take_lock(run_dir)
    # Ray's sockets lie here; their paths must stay under 107 characters, so not in data_dir.
    ray_temp = Path(tempfile.mkdtemp(prefix="ingrain-ray-"))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    plan = make_plan(options, ray_temp)
    ray = Process(plan.ray, log_dir) if plan.ray else None
    services = [Process(child, log_dir) for child in plan.services]
    state = run_dir / "platform.json"
    try:
        if ray:
            ray.start()
            wait_for_port(ray, stopping)
        for process in services:
            process.start()
        wait_until_healthy(services, stopping)
        if not stopping.is_set():
            write_state(state, plan, ray, services)
            print(
                f"Ingrain answers on {plan.gateway} (data in {options.data_dir}); Ctrl-C stops it.",
                flush=True,
            )
        while not stopping.wait(POLL_S):
            for process in [*([ray] if ray else []), *services]:
                if process.restart_if_dead():
                    print(
                        f"{process.child.name} had ended and was started again", file=sys.stderr, flush=True
                    )
                    write_state(state, plan, ray, services)
    finally:
        state.unlink(missing_ok=True)
        stop_all(services, ray)
        shutil.rmtree(ray_temp, ignore_errors=True)
        (run_dir / "supervisor.pid").unlink(missing_ok=True)


def take_lock(run_dir: Path) -> None:
    """One platform per data folder. A lock whose process is gone is taken over."""
    lock = run_dir / "supervisor.pid"
    if lock.exists() and (pid := int(lock.read_text() or 0)) and is_supervisor(pid):
        raise AlreadyRunning(f"a platform runs on {run_dir.parent} already (process {pid}); stop it first")
    lock.write_text(str(os.getpid()))


def is_supervisor(pid: int) -> bool:
    try:
        return b"services" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_for_port(process: Process, stopping: threading.Event) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not stopping.is_set():
        with socket.socket() as s:
            if s.connect_ex((HOST, process.child.port)) == 0:
                return
        if not process.running or time.monotonic() > deadline:
            raise RuntimeError(f"{process.child.name} did not start; its log is {process.log}")
        time.sleep(POLL_S)


def wait_until_healthy(processes: list[Process], stopping: threading.Event) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    waiting = list(processes)
    while waiting and not stopping.is_set():
        waiting = [process for process in waiting if not process.healthy()]
        for process in waiting:
            process.restart_if_dead()
        if waiting and time.monotonic() > deadline:
            names = ", ".join(f"{process.child.name} (log: {process.log})" for process in waiting)
            raise RuntimeError(f"not ready within {READY_TIMEOUT_S:.0f} s: {names}")
        stopping.wait(POLL_S)


def write_state(path: Path, plan: Plan, ray: Process | None, services: list[Process]) -> None:
    """For the CLI and for tests; no token is in it. Written whole or not at all."""
    state = {
        "gateway": plan.gateway,
        "supervisor": os.getpid(),
        "ray": ray.pid if ray else 0,
        "services": {
            process.child.name: {"pid": process.pid, "port": process.child.port} for process in services
        },
    }
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    part.write_text(json.dumps(state, indent=1))
    part.replace(path)


def stop_all(services: list[Process], ray: Process | None) -> None:
    """The gateway last of the services: the others end their calls through it. Ray after all."""
    inner = [process for process in services if process.child.name != "gateway"]
    threads = [threading.Thread(target=process.stop, args=(SERVICE_STOP_S,)) for process in inner]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in services:
        if process.child.name == "gateway":
            process.stop(SERVICE_STOP_S)
    if ray:
        ray.stop(RAY_STOP_S)
