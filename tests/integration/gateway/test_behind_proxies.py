"""The proxies of docs/access.md, as they stand there, between callers and a gateway: calls, streams, uploads, errors, quiet times."""

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2, trainer_pb2

DOCS = Path(__file__).resolve().parents[3] / "docs" / "access.md"
ENVOY = Path(sys.executable).parent / "envoy"
Through = Callable[..., AbstractAsyncContextManager[AsyncClient]]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths = folder / "proxy.pem", folder / "proxy.key"
    paths[0].write_bytes(made.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return paths


class Proxy(NamedTuple):
    """`of_docs`: its configuration on the page, with what is of this machine put in: folder, own port, the gateway's for
    gRPC and for HTTP. `command`: what runs it on a file in a folder. `patience`: what keeps it from cutting quiet calls,
    and the same for a second."""

    of_docs: Callable[[Path, int, int, int], str]
    command: Callable[[Path], list[str]]
    patience: tuple[str, str]


def block(language: str) -> str:
    """The page's text in the block of that language that is about a proxy."""
    page = DOCS.read_text().partition("## Through a proxy")[2]
    return re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1]  # type: ignore[index]


def filled_in(text: str, *here: tuple[str, str]) -> str:
    for stands, instead in here:
        assert text.count(stands) == 1, stands
        text = text.replace(stands, instead)
    return text


def nginx(folder: Path, port: int, grpc_port: int, http_port: int) -> str:
    pem, key = certificate(folder)
    listening = f"listen 127.0.0.1:{port} ssl http2; ssl_certificate {pem}; ssl_certificate_key {key};"
    server = filled_in(
        block("nginx"),
        ("listen 443 ssl http2;", listening),
        ("grpc://gateway:7070", f"grpc://127.0.0.1:{grpc_port}"),
        ("http://gateway:7080", f"http://127.0.0.1:{http_port}"),
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;"
        f"events {{}} http {{ access_log off; {temporary}\n{server} }}"
    )


def envoy(folder: Path, port: int, grpc_port: int, http_port: int) -> str:
    pem, key = certificate(folder)
    return filled_in(
        block("yaml"),
        ("address: 0.0.0.0, port_value: 443", f"address: 127.0.0.1, port_value: {port}"),
        ("address: gateway, port_value: 7070", f"address: 127.0.0.1, port_value: {grpc_port}"),
        ("address: gateway, port_value: 7080", f"address: 127.0.0.1, port_value: {http_port}"),
        ("/tls/tls.crt", str(pem)),
        ("/tls/tls.key", str(key)),
    )


PROXIES = {
    "nginx": Proxy(
        nginx,
        lambda folder: [
            "nginx",
            "-p",
            f"{folder}",
            "-c",
            f"{folder}/proxy.yaml",
            "-e",
            f"{folder}/early.log",
        ],
        ("grpc_read_timeout 1h", "grpc_read_timeout 1s"),
    ),
    "envoy": Proxy(
        envoy,
        lambda folder: [
            *(str(ENVOY), "-c", f"{folder}/proxy.yaml", "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "error"),
        ],
        ("{cluster: grpc, timeout: 0s}", "{cluster: grpc, timeout: 1s}"),
    ),
}


@pytest.fixture(
    params=[
        pytest.param("nginx", marks=pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")),
        pytest.param("envoy", marks=pytest.mark.skipif(not ENVOY.exists(), reason="needs Envoy")),
    ]
)
def proxy(request: pytest.FixtureRequest) -> Proxy:
    return PROXIES[request.param]


@pytest.fixture
def through(start: Any, tmp_path: Path, free_port: int, proxy: Proxy) -> Through:
    """A client of a gateway by the proxy; `change` rewrites its configuration."""

    @asynccontextmanager
    async def through(change: Callable[[str], str] = str) -> AsyncIterator[AsyncClient]:
        async with start(http_port=0) as platform:
            text = proxy.of_docs(tmp_path, free_port, platform.gateway.port, platform.gateway.http.port)
            (tmp_path / "proxy.yaml").write_text(change(text))
            process = subprocess.Popen(proxy.command(tmp_path))
            try:
                client = AsyncClient(f"localhost:{free_port}", tls=tmp_path / "proxy.pem", timeout_s=20)
                async with client:
                    await answers(client)
                    yield client
            finally:
                process.terminate()
                process.wait()

    return through


async def answers(client: AsyncClient) -> None:
    for _ in range(200):
        try:
            await client.models.get("m")
            return
        except errors.Unavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("the proxy does not answer")


def chunks(dataset_id: str) -> Any:
    header = datasets_pb2.UploadDatasetHeader(parent="projects/default", dataset_id=dataset_id)
    yield datasets_pb2.UploadDatasetRequest(header=header)
    for _ in range(8):
        yield datasets_pb2.UploadDatasetRequest(chunk=b"x" * (1 << 20))


async def test_calls_streams_uploads_and_errors_pass(through: Through) -> None:
    async with through() as client:
        assert (await client.models.get("m")).name == "projects/default/models/m"
        assert (await client.stubs.datasets.UploadDataset(chunks("good"))).size_bytes == 8 << 20
        with pytest.raises(errors.Invalid) as refused:
            await client.stubs.datasets.UploadDataset(chunks("refused"))
        assert refused.value.field_violations[0].field == "rows[6]"
        steps = []
        with pytest.raises(errors.Invalid) as broken:  # noqa: PT012 - it is the iteration that raises
            async for snapshot in client.stubs.trainer.WatchTraining(
                trainer_pb2.WatchTrainingRequest(name="projects/default/models/m")
            ):
                steps.append(snapshot.step)
        assert (steps, broken.value.reason) == ([0, 1, 2], "IN_THE_MIDDLE")
        with pytest.raises(errors.Invalid):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="nonsense"))


async def test_quiet_calls_are_not_cut(through: Through, proxy: Proxy) -> None:
    """ListModels of the test's backend says nothing for 30 s: it ends by the caller's deadline, not by the proxy."""
    request = trainer_pb2.ListModelsRequest(parent="projects/default")
    async with through() as client:
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            await client.stubs.trainer.ListModels(request, timeout=4)
        assert time.monotonic() - started > 3.5
    async with through(lambda text: filled_in(text, proxy.patience)) as client:
        with pytest.raises(errors.IngrainError) as cut:  # so that the line above is seen to matter
            await client.stubs.trainer.ListModels(request, timeout=15)
        assert cut.value.code is not grpc.StatusCode.DEADLINE_EXCEEDED or "504" in str(cut.value)


async def test_openais_http_passes(through: Through, tmp_path: Path, free_port: int) -> None:
    async with through():
        context = ssl.create_default_context(cafile=str(tmp_path / "proxy.pem"))
        async with aiohttp.ClientSession() as session:
            async with session.get(f"https://localhost:{free_port}/v1/nothing", ssl=context) as response:
                assert response.status == 404
                assert response.headers["X-Request-Id"]
