"""The component `oidc`, started from its manifest: tokens of the cluster open the gateway, the keys asked of an API server."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ingrain import Client, errors
from tests.unit.k8s.started import Namespace
from tests.unit.k8s.test_starting import certificates, namespace, running
from tools.k8s_check import rendering
from tools.k8s_check.objects import load_file, named, pods

KEY = rsa.generate_private_key(65537, 2048)
API_SERVER = "https://kubernetes.default.svc"
OF_THE_POD = "a-token-of-the-pod"


def keys() -> dict[str, Any]:
    return {
        "keys": [
            jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "a", "use": "sig"}
        ]
    }


def token(issuer: str, **claims: Any) -> str:
    """As the kubelet puts it into a Job's pod."""
    given = {
        "iss": issuer,
        "aud": ["ingrain"],
        "exp": time.time() + 600,
        "sub": "system:serviceaccount:default:ingrain-caller",
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "ingrain-caller"}},
    }
    return jwt.encode(given | claims, KEY, algorithm="RS256", headers={"kid": "a"})


@contextmanager
def api_server(folder: Path) -> Iterator[str]:
    """Its address. It tells its keys to who shows a token of it, as Kubernetes does."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["authorization"] == f"Bearer {OF_THE_POD}" and self.path == "/openid/v1/jwks"
            self.send_response(200 if known else 403)
            self.end_headers()
            self.wfile.write(json.dumps(keys() if known else {}).encode())

        def log_message(self, *_: object) -> None:
            """Nothing on the test's stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_issuers(space: Namespace, **replaced: str) -> str:
    """The manifest's setting with places of this machine; returns its issuer."""
    data = named(space.objects, "ConfigMap")["ingrain-oidc"]["data"]
    for old, new in replaced.items():
        assert old in data["issuers"]
        data["issuers"] = data["issuers"].replace(old, new)
    (issuer,) = json.loads(data["issuers"])
    return str(issuer["issuer"])


def check_who_comes_in(space: Namespace, issuer: str) -> None:
    address = space.addresses[("gateway", 7070)]
    with running(space, "gateway", "augmenter") as started:
        for one in started.values():
            one.until("readinessProbe")
        with Client(address, api_key=token(issuer)) as client, pytest.raises(errors.NotFound):
            client.datasets.get("none")  # the augmenter's answer
        refused = {
            token(issuer, aud=["https://kubernetes.default.svc"]): (errors.Unauthenticated, "BAD_TOKEN"),
            token("https://elsewhere.example"): (errors.Unauthenticated, "BAD_TOKEN"),
            token(issuer, exp=time.time() - 60): (errors.Unauthenticated, "TOKEN_EXPIRED"),
            token(issuer, **{"kubernetes.io": {"namespace": "kube-system"}}): (
                errors.PermissionDenied,
                "NO_PROJECT",
            ),
        }
        for shown, (kind, reason) in refused.items():
            with Client(address, api_key=shown) as client, pytest.raises(kind) as caught:
                client.datasets.get("none")
            assert caught.value.reason == reason


def test_pods_come_in_by_keys_that_the_api_server_tells(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("laptop", tmp_path, made_up, stores, "oidc")
    folder = certificates(tmp_path / "oidc")
    (folder / "token").write_text(OF_THE_POD)
    with api_server(folder) as address:
        places = {f"{API_SERVER}/openid": f"{address}/openid", '"/oidc/': f'"{folder}/'}
        check_who_comes_in(space, with_issuers(space, **places))


def test_pods_come_in_by_keys_of_a_file(
    tmp_path: Path, made_up: dict[tuple[str, str], str], stores: dict[str, str]
) -> None:
    space = namespace("laptop", tmp_path, made_up, stores, "oidc")
    (tmp_path / "jwks.json").write_text(json.dumps(keys()))
    places = {
        f"{API_SERVER}/openid/v1/jwks": str(tmp_path / "jwks.json"),
        '"/oidc/ca.crt"': '""',
        '"/oidc/token"': '""',
    }
    check_who_comes_in(space, with_issuers(space, **places))


def test_what_the_setting_names_is_what_the_pod_mounts() -> None:
    objects = load_file(rendering.Variant("laptop", ("oidc",)).golden)
    (gateway,) = [pod for pod in pods(objects) if pod.component == "gateway"]
    (mount,) = [m for m in gateway.containers[0]["volumeMounts"] if m["name"] == "oidc"]
    (volume,) = [v["projected"] for v in gateway.spec["volumes"] if v["name"] == "oidc"]
    files = {"token" if "serviceAccountToken" in source else "ca.crt" for source in volume["sources"][1:]}
    (issuer,) = json.loads(named(objects, "ConfigMap")["ingrain-oidc"]["data"]["issuers"])
    assert {issuer["ca"], issuer["bearer"]} == {f"{mount['mountPath']}/{file}" for file in files}
    job = load_file(rendering.MANIFESTS / "jobs" / "study.yaml")[0]["spec"]["template"]["spec"]
    (identity,) = [v["projected"] for v in job["volumes"] if v["name"] == "identity"]
    assert identity["sources"][0]["serviceAccountToken"]["audience"] == issuer["audience"]
