"""Every service starts from its manifest's own command and environment, and answers the probes that the manifest asks."""

import datetime
import ipaddress
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ingrain import TLS, Client, errors
from tests.unit.k8s.started import Namespace, Started
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file

LIGHT = ("gateway", "augmenter", "evaluator", "studies")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def namespace(
    overlay: str, folder: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str], *with_: str
) -> Namespace:
    objects = load_file(rendering.Variant(overlay, with_).golden)
    made = Namespace(objects, folder, made_up)
    made.addresses[("objects", 8333)] = stores["INGRAIN_S3_ENDPOINT"]
    return made


@contextmanager
def running(space: Namespace, *components: str) -> Iterator[dict[str, Started]]:
    with ExitStack() as stack:
        started = {}
        for name in components:
            one = started[name] = Started(space, name)
            stack.callback(lambda one=one: one.process.poll() is None and one.process.kill())
        yield started


def test_light_services_start_serve_and_end(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("laptop", tmp_path, made_up, stores)
    with running(space, *LIGHT) as started:
        for one in started.values():
            for probe in PROBES:
                one.until(probe)
        address = space.addresses[("gateway", 7070)]
        with pytest.raises(errors.Unauthenticated), Client(address) as stranger:
            stranger.datasets.upload([{"id": "a", "text": "A valve."}], "valves")
        with Client(address, api_key=made_up[("ingrain-identity", "operator-token")]) as client:
            kept = client.datasets.upload([{"id": "a", "text": "A valve."}], "valves")
            assert kept.row_count == 1
        for one in started.values():
            assert one.stop() == 0, one.log.read_text()[-2000:]


def test_trainer_starts_without_ray(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    with running(namespace("laptop", tmp_path, made_up, stores), "trainer") as started:
        for probe in PROBES:
            started["trainer"].until(probe)


def test_trainer_starts_with_the_template_of_its_rayjobs(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    """Kubernetes itself is not asked before there is a training."""
    space = namespace("gpu", tmp_path, made_up, stores, "s3")
    (template,) = [o for o in space.objects if o["metadata"]["name"].startswith("training-template-")]
    place = space.files["/etc/ingrain/training"] = tmp_path / "template"
    place.mkdir()
    for name, text in template["data"].items():
        (place / name).write_text(text)
    with running(space, "trainer") as started:
        trainer = started["trainer"]
        assert trainer.environment()["INGRAIN_RAY_JOB_TEMPLATE"] == str(place / "rayjob.yaml")
        for probe in PROBES:
            trainer.until(probe)
        assert trainer.stop() == 0, trainer.log.read_text()[-2000:]


def test_door_of_inference_lives_and_is_not_ready_without_engines(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("gpu", tmp_path, made_up, stores, "s3")
    space.addresses[("engines-serve-svc", 9000)] = "127.0.0.1:9"  # nobody is there
    space.addresses[("postgres", 5432)] = "127.0.0.1:9"
    with running(space, "inference") as started:
        door = started["inference"]
        door.until("startupProbe")
        time.sleep(1.0)
        assert door.answers("livenessProbe")
        assert not door.answers("readinessProbe")


def test_laptops_inference_has_its_engine_within(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    with running(namespace("laptop", tmp_path, made_up, stores), "inference") as started:
        for probe in PROBES:
            started["inference"].until(probe)


def test_with_tls_callers_need_the_authority(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("laptop", tmp_path, made_up, stores, "tls")
    space.files["/tls"] = certificates(tmp_path / "tls")
    with running(space, "gateway", "augmenter") as started:
        for one in started.values():
            for probe in PROBES:
                one.until(probe)
        assert started["augmenter"].environment()["INGRAIN_TLS_CA"] == str(tmp_path / "tls" / "ca.crt")
        address = space.addresses[("gateway", 7070)].replace("127.0.0.1", "localhost")
        key = made_up[("ingrain-identity", "operator-token")]
        with pytest.raises(errors.Unavailable), Client(address, api_key=key, tls=False) as client:
            client.datasets.get("none")
        with Client(address, api_key=key, tls=TLS(ca=tmp_path / "tls" / "ca.crt")) as client:
            with pytest.raises(errors.NotFound):  # the augmenter's answer
                client.datasets.get("none")


def test_with_mutual_tls_services_answer_the_gateway_alone(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("laptop", tmp_path, made_up, stores, "mtls")
    space.files["/inside"] = certificates(tmp_path / "inside")
    with running(space, "gateway", "augmenter") as started:
        for one in started.values():
            for probe in PROBES:
                one.until(probe)
        key = made_up[("ingrain-identity", "operator-token")]
        address = space.addresses[("augmenter", 7071)]
        with pytest.raises(errors.Unavailable), Client(address, api_key=key, tls=False) as stranger:
            stranger.datasets.get("none")
        with (
            Client(space.addresses[("gateway", 7070)], api_key=key) as client,
            pytest.raises(errors.NotFound),
        ):
            client.datasets.get("none")


def certificates(folder: Path) -> Path:
    """Of "gateway" and this machine, signed by itself; under the names that a TLS Secret has."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    names = [x509.DNSName(name) for name in ("gateway", "augmenter", "localhost")]
    names.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "tls.crt").write_bytes(pem)
    (folder / "ca.crt").write_bytes(pem)
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder
