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

from services.supervisor.kin import end_kin
from services.supervisor.lock import locked
from services.supervisor.plan import HOST, Options, Plan, make_plan
from services.supervisor.process import Process

READY_TIMEOUT_S = 180.0
POLL_S = 0.3
SERVICE_STOP_S = 25.0
RAY_STOP_S = 20.0
KIN_STOP_S = 5.0
RAY_TEMP_PREFIX = "ingrain-ray-"


def supervise(options: Options) -> None:
    """Until SIGTERM, SIGINT or the terminal's end. AlreadyRunning where another does; RuntimeError when a service cannot
    be kept alive or is not ready in time."""
    data_dir = options.data_dir
    for name in ("run", "logs", "db", "scratch"):
        (data_dir / name).mkdir(parents=True, exist_ok=True)
    with locked(data_dir):
        stopping = stop_event()
        clear_up(data_dir)
        # Ray's sockets lie here; their paths must stay under 107 characters, so not in data_dir.
        ray_temp = Path(tempfile.mkdtemp(prefix=RAY_TEMP_PREFIX))
        plan = make_plan(options, ray_temp)
        ray = Process(plan.ray, data_dir / "logs") if plan.ray else None
        services = [Process(child, data_dir / "logs") for child in plan.services]
        try:
            run(options, plan, ray, services, stopping)
        finally:
            state_file(data_dir).unlink(missing_ok=True)
            stop_all(services, ray)
            end_kin(data_dir, KIN_STOP_S)
            shutil.rmtree(ray_temp, ignore_errors=True)


def run(
    options: Options, plan: Plan, ray: Process | None, services: list[Process], stopping: threading.Event
) -> None:
    if ray:
        ray.start()
        wait_for_port(ray, stopping)
    for process in services:
        if not stopping.is_set():
            process.start()
    wait_until_healthy(services, stopping)
    if stopping.is_set():
        return
    write_state(state_file(options.data_dir), plan, ray, services)
    print(f"Ingrain answers on {plan.gateway} (data in {options.data_dir}); Ctrl-C stops it.", flush=True)
    print(f"OpenAI's clients find it at {plan.http}.", flush=True)
    print(f"file:// sources are read below {plan.import_root}; --import-root changes it.", flush=True)
    while not stopping.wait(POLL_S):
        restarted = [process for process in services if process.restart_if_dead()]
        if ray and ray.restart_if_dead():
            wait_for_port(ray, stopping)
            holders = [process for process in services if process.child.holds_ray]
            for process in holders:
                process.restart()
            restarted += [ray, *holders]
        for process in restarted:
            print(f"{process.child.name} was started again", file=sys.stderr, flush=True)
        if restarted:
            write_state(state_file(options.data_dir), plan, ray, services)


def stop_event() -> threading.Event:
    """Set by SIGTERM, SIGINT and, unless it is ignored as under nohup, SIGHUP."""
    stopping = threading.Event()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def clear_up(data_dir: Path) -> None:
    """What a supervisor that was killed left behind: its state, Ray's folder, its processes."""
    end_kin(data_dir, SERVICE_STOP_S)
    state = state_file(data_dir)
    if state.exists():
        ray_temp = Path(json.loads(state.read_text())["ray_temp"])
        if ray_temp.name.startswith(RAY_TEMP_PREFIX):
            shutil.rmtree(ray_temp, ignore_errors=True)
        state.unlink()


def state_file(data_dir: Path) -> Path:
    return data_dir / "run" / "platform.json"


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
        "http": plan.http,
        "supervisor": os.getpid(),
        "ray": ray.pid if ray else 0,
        "ray_temp": str(plan.ray_temp),
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
