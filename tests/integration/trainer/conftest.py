"""The trainer as a process of its own, a Ray head of its own, and in-process stand-ins for the two services it calls."""

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import psutil
import pytest

from ingrain import AsyncClient
from ingrain.v1 import datasets_pb2, datasets_pb2_grpc, inference_pb2_grpc

GATEWAY_TOKEN = "gateway-token-of-the-test"
PROJECT = "projects/demo"


def checkpoints():
    """The builder of tiny checkpoints, shared with the unit tests."""
    return loaded(
        "trainer_test_checkpoints", Path(__file__).parents[2] / "unit" / "trainer" / "checkpoints.py"
    )


def loaded(name, path):
    """A module beside the tests: they are no package, so it is loaded by its path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def build_checkpoint(tmp_path_factory):
    built = {}

    def build(architecture="llama", **options):
        key = (architecture, *sorted(options.items()))
        if key not in built:
            folder = tmp_path_factory.mktemp("checkpoint") / "model"
            built[key] = checkpoints().build(folder, architecture, **options)
        return built[key]

    return build


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    """Rows by name, as the augmenter serves them."""

    def __init__(self):
        self.rows = {}

    async def GetDataset(self, request, context):
        if request.name not in self.rows:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} does not exist")
        rows = self.rows[request.name]
        return datasets_pb2.Dataset(name=request.name, row_count=len(rows), sha256="d" * 64)

    async def ReadRows(self, request, context):
        if request.name not in self.rows:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} does not exist")
        rows = self.rows[request.name]
        for number in range(request.start_row, len(rows), 2):
            texts = [json.dumps(row) for row in rows[number : number + 2]]
            yield datasets_pb2.ReadRowsResponse(rows=texts, start_row=number)


@pytest.fixture
async def datasets():
    """The gateway's place: Datasets, and an Inference that checks what was trained. `.put(name, rows)` returns the full name."""
    server = grpc.aio.server()
    servicer = Datasets()
    servicer.inference = loaded(
        "trainer_test_inference", Path(__file__).with_name("inference.py")
    ).Inference()
    datasets_pb2_grpc.add_DatasetsServicer_to_server(servicer, server)
    inference_pb2_grpc.add_InferenceServicer_to_server(servicer.inference, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"

    def put(name, rows):
        servicer.rows[f"{PROJECT}/datasets/{name}"] = rows
        return f"{PROJECT}/datasets/{name}"

    servicer.put = put
    await server.start()
    yield servicer
    await server.stop(None)


class TrainerProcess:
    """`python -m services.trainer` on a free port, restartable on the same data."""

    def __init__(self, environment):
        self.environment = environment
        self.process = None
        self.address = ""
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.trainer"],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        line = self.process.stdout.readline()
        self.address = f"127.0.0.1:{json.loads(line)['port']}"
        # The client's channel outlives the process: the next one listens at the same place.
        self.environment["INGRAIN_PORT"] = self.address.rsplit(":", 1)[1]

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        self.process.wait(60)
        self.process.stdout.close()

    def client(self, kind="service"):
        """A client that speaks as the gateway would for a caller of this kind."""
        metadata = (
            ("ingrain-gateway-token", GATEWAY_TOKEN),
            ("ingrain-caller-kind", kind),
            ("ingrain-caller-id", "test"),
            ("ingrain-caller-project", PROJECT),
        )
        return AsyncClient(self.address, project="demo", metadata=metadata)


@pytest.fixture
def start_trainer(tmp_path, datasets):
    """start_trainer(**environment) -> TrainerProcess; ended after the test."""
    started = []

    def start(**environment):
        (tmp_path / "import").mkdir(exist_ok=True)
        process = TrainerProcess(
            {
                "INGRAIN_PORT": "0",
                "INGRAIN_GATEWAY": datasets.address,
                "INGRAIN_GATEWAY_TOKEN": GATEWAY_TOKEN,
                "INGRAIN_DATABASE_URL": f"sqlite:///{tmp_path}/trainer.db",
                "INGRAIN_STORAGE": f"file://{tmp_path}/storage",
                "INGRAIN_SCRATCH": f"{tmp_path}/scratch",
                "INGRAIN_IMPORT_ROOT": f"{tmp_path}/import",
                "INGRAIN_LEASE_S": "3",
                "INGRAIN_DRAIN_S": "3",
                "INGRAIN_LOG_LEVEL": "warning",
                "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "",
                **environment,
            }
        )
        started.append(process)
        datasets.inference.trainer = process
        return process

    yield start
    for process in started:
        process.end(signal.SIGKILL)


@pytest.fixture
async def trainer(start_trainer):
    return start_trainer()


@pytest.fixture
async def client(trainer):
    async with trainer.client() as client:
        yield client


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


PORT_OPTIONS = (
    "--port",
    "--dashboard-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--metrics-export-port",
    "--runtime-env-agent-port",
    "--ray-client-server-port",
    "--node-manager-port",
    "--object-manager-port",
)


class RayHead:
    """A Ray head of 8 logical CPUs on ports of its own, which can be killed and started again at the same place."""

    def __init__(self, environment):
        self.ports = dict(zip(PORT_OPTIONS, free_ports(len(PORT_OPTIONS)), strict=True))
        self.reach = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "INGRAIN_RAY_DASHBOARD": f"http://127.0.0.1:{self.ports['--dashboard-port']}",
        }
        self.environment = {
            **os.environ,
            **self.reach,
            **environment,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start(self):
        # Unix sockets lie in it, and their paths may have 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="ir")
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
        command += [part for option in self.ports.items() for part in option]
        command += ["--temp-dir", self.folder, "--num-cpus", "8", "--object-store-memory", str(200 << 20)]
        command += ["--include-dashboard", "true", "--dashboard-host", "127.0.0.1"]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self):
        # At SIGTERM a node drains for half a minute; nothing in it is worth waiting for.
        kin = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(kin, 30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self, text):
        """Those of its kin whose command line holds `text`."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                if text in " ".join(process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="session")
def s3():
    """An S3 server; its keys are the Ray nodes' own, they never travel with a job."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "INGRAIN_S3_ENDPOINT": f"{host}:{port}",
        "INGRAIN_S3_ACCESS_KEY": "key-of-the-test",
        "INGRAIN_S3_SECRET_KEY": "secret-of-the-test",
        "INGRAIN_S3_SECURE": "false",
    }
    server.stop()


@pytest.fixture(scope="session")
def head(s3):
    head = RayHead(s3)
    head.start()
    yield head
    head.kill()


@pytest.fixture(scope="session")
def ray(head):
    """What the trainer needs to reach it."""
    return head.reach


@pytest.fixture
def eventually():
    async def wait(condition, timeout_s=60.0):
        """The first true value of `condition()`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not (value := await condition()):
            assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
            await asyncio.sleep(0.2)
        return value

    return wait
