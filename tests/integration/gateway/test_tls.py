"""Handshakes with certificates made here: who trusts the authority gets in, everybody else learns what to do."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ingrain import TLS, AsyncClient, Client, errors
from servicekit import inside
from servicekit.errors import Invalid
from servicekit.peers import gateway_client
from servicekit.settings import ServiceSettings


@dataclass(frozen=True)
class Authority:
    """One that signs a certificate for one address, and for no name."""

    folder: Path
    name: str = "test authority"
    ended: bool = False
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.folder.mkdir()
        key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        own = self._builder(self.name, self.name, key.public_key(), timedelta(hours=1))
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address(self.address))])
        left = timedelta(minutes=-1) if self.ended else timedelta(hours=1)
        server = self._builder("gateway", self.name, server_key.public_key(), left)
        server = server.add_extension(address, critical=False)
        pem = serialization.Encoding.PEM
        self.ca.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(pem))
        self.certificate.write_bytes(server.sign(key, hashes.SHA256()).public_bytes(pem))
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.key.write_bytes(server_key.private_bytes(pem, pkcs8, plain))

    def _builder(
        self, subject: str, issuer: str, public_key: ec.EllipticCurvePublicKey, left: timedelta
    ) -> x509.CertificateBuilder:
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in (subject, issuer)]
        return (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(hours=2))
            .not_valid_after(datetime.now(UTC) + left)
        )

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "gateway.pem"

    @property
    def key(self) -> Path:
        return self.folder / "gateway.key"

    def settings(self) -> dict[str, Path]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}

    def both_ways(self) -> dict[str, Path]:
        return {"inside_ca": self.ca, "inside_certificate": self.certificate, "inside_key": self.key}

    def files(self) -> inside.Files:
        return inside.Files(self.key, self.certificate, self.ca)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


async def refusal(target: str, tls: Any) -> str:
    async with AsyncClient(target, tls=tls, timeout_s=10) as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.models.get("m")
        return str(caught.value)


async def test_who_trusts_the_authority_calls_streams_and_uploads(start: Any, authority: Authority) -> None:
    async with start(**authority.settings()) as platform:
        async with AsyncClient(platform.address, tls=authority.ca, timeout_s=10) as client:
            assert (await client.models.get("m")).display_name == "operator"
            with pytest.raises(errors.Invalid, match="step 3"):
                async for _ in client.models.watch("m"):
                    pass
            uploaded = await client.datasets.upload([{"id": "a", "text": "b"}], "docs")
            assert uploaded.size_bytes > 0
            assert platform.datasets.committed
        with pytest.raises(errors.Unavailable):
            await platform.new_key()  # the plain client of the other tests


async def test_a_file_can_be_given_as_text_or_by_the_environment(
    start: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(**authority.settings()) as platform:
        async with AsyncClient(platform.address, tls=str(authority.ca), timeout_s=10) as client:
            await client.models.get("m")
        monkeypatch.setenv("INGRAIN_TLS_CA", str(authority.ca))
        async with AsyncClient(platform.address, timeout_s=10) as client:
            await client.models.get("m")
        assert "without TLS" in await refusal(platform.address, False)

        def plain_code() -> str:
            with Client(platform.address, timeout_s=10) as client:
                return client.models.get("m").display_name

        assert await asyncio.to_thread(plain_code) == "operator"


async def test_services_reach_a_gateway_with_tls(
    start: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGRAIN_TLS_CA", str(authority.ca))
    async with start(**authority.settings()) as platform:
        settings = ServiceSettings(gateway=platform.address, service_token="service-token")
        client = gateway_client(settings, "projects/default")
        assert (await client.models.get("m")).display_name == "service"
        await client.close()


async def test_a_foreign_authority_is_refused(start: Any, authority: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign", name="foreign authority")
    namesake = Authority(tmp_path / "namesake")
    async with start(**authority.settings()) as platform:
        untrusted = [await refusal(platform.address, tls) for tls in (foreign.ca, True)]
        unsigned = await refusal(platform.address, namesake.ca)
    for message in untrusted:
        assert f"the certificate of {platform.address} is not to be trusted" in message
    assert f"the TLS handshake with {platform.address} failed" in unsigned
    for message in (*untrusted, unsigned):
        assert "INGRAIN_TLS_CA" in message
        assert "ingrain up" not in message


async def test_an_ended_certificate_is_refused(start: Any, tmp_path: Path) -> None:
    ended = Authority(tmp_path / "ended", ended=True)
    async with start(**ended.settings()) as platform:
        assert "certificate has expired" in await refusal(platform.address, ended.ca)


async def test_another_name_than_the_certificates_is_refused(start: Any, tmp_path: Path) -> None:
    elsewhere = Authority(tmp_path / "elsewhere", address="127.0.0.2")
    async with start(**elsewhere.settings()) as platform:
        message = await refusal(platform.address, elsewhere.ca)
    assert "for another name" in message


async def test_plain_and_encrypted_do_not_go_together(
    start: Any, platform: Any, authority: Authority
) -> None:
    assert "does not speak TLS" in await refusal(platform.address, authority.ca)
    async with start(**authority.settings()) as encrypted:
        assert "ends connections without TLS" in await refusal(encrypted.address, None)


async def test_a_file_that_is_no_certificate(platform: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear certificate,")
    assert "PEM" in await refusal(platform.address, tmp_path / "letter.txt")
    with pytest.raises(FileNotFoundError):
        AsyncClient(platform.address, tls=TLS(ca=tmp_path / "none.pem"))


async def test_command_line(start: Any, authority: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign", name="foreign authority")

    async def ingrain(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from ingrain.cli import main; main()", *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("INGRAIN_")} | variables
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60
        )

    async with start(**authority.settings()) as platform:
        get = ("model", "get", "m", "-o", "name")
        trusting = await ingrain("--target", platform.address, "--ca", str(authority.ca), *get)
        assert (trusting.returncode, trusting.stdout) == (0, "projects/default/models/m\n"), trusting.stderr
        by_variable = await ingrain(*get, INGRAIN_TARGET=platform.address, INGRAIN_TLS_CA=str(authority.ca))
        assert by_variable.returncode == 0, by_variable.stderr
        wrong = await ingrain("--target", platform.address, "--ca", str(foreign.ca), *get)
        assert wrong.returncode == 5
        assert "not to be trusted" in wrong.stderr
        missing = await ingrain("--ca", str(tmp_path / "none.pem"), *get)
        assert missing.returncode == 2
        assert "none.pem" in missing.stderr


async def test_half_a_tls_is_a_mistake(start: Any, authority: Authority) -> None:
    for half in ({"tls_certificate": authority.certificate}, {"tls_key": authority.key}):
        with pytest.raises(Invalid, match="INGRAIN_TLS_KEY"):
            async with start(**half):
                pass


async def test_gateway_and_services_show_each_other_who_they_are(
    start: Any, authority: Authority, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path / "foreign", name="foreign authority")
    async with start(authority.files(), **authority.both_ways()) as platform, platform.client() as client:
        assert await client.models.get("m")
        assert (await client.datasets.upload([{"id": "a", "text": "b"}], "docs")).size_bytes > 0
        health = health_pb2.HealthCheckRequest(service="ingrain.v1.Trainer")
        async with grpc.aio.insecure_channel(platform.address) as channel:
            told = await health_pb2_grpc.HealthStub(channel).Check(health)
        assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING  # the backend here serves no health
    for stranger in (foreign.both_ways(), {}):
        async with start(authority.files(), **stranger) as platform:
            async with AsyncClient(platform.address, timeout_s=2) as client:
                with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
                    await client.models.get("m")
            assert not platform.trainer.metadata  # nothing reached it


@pytest.mark.parametrize("left_out", ["inside_ca", "inside_certificate", "inside_key"])
def test_two_files_of_three_are_a_mistake(authority: Authority, left_out: str) -> None:
    given = {name: file for name, file in authority.both_ways().items() if name != left_out}
    with pytest.raises(Invalid, match="INGRAIN_INSIDE_CA"):
        inside.files_of(ServiceSettings(**given))


async def test_a_renewed_certificate_needs_no_restart(
    start: Any, authority: Authority, tmp_path: Path
) -> None:
    renewed = Authority(tmp_path / "renewed", name="renewed authority")
    async with start(**authority.settings()) as platform:
        assert "not to be trusted" in await refusal(platform.address, renewed.ca)
        authority.key.write_bytes(renewed.key.read_bytes())  # half of it: what was there still stands
        async with AsyncClient(platform.address, tls=authority.ca, timeout_s=10) as client:
            assert await client.models.get("m")
        authority.certificate.write_bytes(renewed.certificate.read_bytes())
        async with AsyncClient(platform.address, tls=renewed.ca, timeout_s=10) as client:
            assert await client.models.get("m")


async def test_health_alone_is_told_without_tls(authority: Authority, free_port: int) -> None:
    """By a service of its own process, as Kubernetes' probes ask it."""
    code = (
        "import asyncio; from servicekit.server import serve; from servicekit.settings import ServiceSettings;"
        "asyncio.run(serve(ServiceSettings(), 'probed', lambda server: ['probed.v1.Nothing']))"
    )
    variables = {f"INGRAIN_{name.upper()}": str(file) for name, file in authority.both_ways().items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env=os.environ | variables | {"INGRAIN_HEALTH_PORT": str(free_port), "INGRAIN_LOG_LEVEL": "error"},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        served = json.loads(await process.stdout.readline())
        request = health_pb2.HealthCheckRequest(service="probed.v1.Nothing")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
            told = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
        assert told.status == health_pb2.HealthCheckResponse.SERVING
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served['port']}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    finally:
        process.terminate()
        assert await process.wait() == 0
