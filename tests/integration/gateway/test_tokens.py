"""Tokens of an identity provider of the test's own: signed here, its keys fetched over loopback or read from a file."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ingrain import errors
from ingrain.v1 import inference_pb2, projects_pb2, trainer_pb2
from servicekit.errors import Invalid
from services.gateway import signing_keys
from services.gateway.signing_keys import SigningKeys, origin
from services.gateway.tokens import Issuer, claim

AUDIENCE = "ingrain"
WORKLOAD = "system:serviceaccount:team-a:nightly"


class Provider:
    """Signs tokens, and serves the keys by which they are checked."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"first": rsa.generate_private_key(65537, 2048)}
        self.published = ["first"]
        self.asked: list[str] = []
        self.shown: list[str | None] = []
        self.is_away = False
        self.issuer = ""
        self.place_of_keys = ""

    def token(self, kid: str = "first", algorithm: str = "RS256", key: Any = None, **claims: Any) -> str:
        given = {
            "iss": self.issuer,
            "aud": [AUDIENCE, "else"],
            "sub": WORKLOAD,
            "exp": time.time() + 600,
            "kubernetes.io": {"namespace": "default"},
        } | claims
        payload = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(payload, key or self.keys[kid], algorithm=algorithm, headers={"kid": kid})

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self._public(kid) for kid in self.published]}

    def _public(self, kid: str) -> dict[str, Any]:
        key = self.keys[kid]
        kind = (
            jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        )
        return kind.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"}

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.shown.append(request.headers.get("authorization"))
        if self.is_away:
            return web.Response(status=503)
        if request.path.endswith("openid-configuration"):
            place = self.place_of_keys or f"{self.issuer}/keys"
            return web.json_response({"issuer": self.issuer, "jwks_uri": place})
        return web.json_response(self.jwks())


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def trusting(provider: Provider, **more: Any) -> dict[str, Any]:
    """A gateway's settings."""
    settings = {
        "issuer": provider.issuer,
        "audience": AUDIENCE,
        "project_claim": "kubernetes.io/namespace",
    } | more
    return {"require_keys": True, "oidc": (Issuer(**settings),)}


async def refusal(platform: Any, token: str) -> str:
    async with platform.client(token) as client:
        with pytest.raises(errors.Unauthenticated) as caught:
            await client.models.get("m")
    assert token not in str(caught.value)
    return caught.value.reason


async def test_a_token_opens_its_project_and_no_other(start: Any, provider: Provider) -> None:
    async with start(**trusting(provider)) as platform:
        async with platform.client(provider.token()) as client:
            assert (await client.models.get("m")).display_name == "user"
            with pytest.raises(errors.NotFound):
                await client.stubs.trainer.GetModel(
                    trainer_pb2.GetModelRequest(name="projects/other/models/m")
                )
        seen = platform.trainer.metadata
        assert seen["ingrain-caller-project"] == "projects/default"
        assert seen["ingrain-caller-id"] == f"{WORKLOAD} of {provider.issuer}"
        made = await platform.new_key()
        async with platform.client(made.secret) as client:  # keys go on beside tokens
            assert await client.models.get("m")
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_what_is_not_to_be_believed_is_refused(start: Any, provider: Provider) -> None:
    provider.keys["foreign"] = rsa.generate_private_key(65537, 2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(provider.keys["first"].public_key())
    provider.keys["curved"] = ec.generate_private_key(ec.SECP384R1())
    provider.published.append("curved")
    curve = encoded({"alg": "ES256", "typ": "JWT", "kid": "curved"})
    header, _, signature = provider.token().split(".")
    altered = encoded({"iss": provider.issuer, "aud": AUDIENCE, "sub": "x", "exp": time.time() + 600})
    tokens = {
        "of another issuer": provider.token(iss="https://elsewhere.example"),
        "signed by another key": provider.token(key=provider.keys["foreign"]),
        "of a key that is not published": provider.token("foreign"),
        "for another audience": provider.token(aud="other"),
        "without an end": provider.token(exp=None),
        "without audience": provider.token(aud=None),
        "without subject": provider.token(sub=None),
        "not valid yet": provider.token(nbf=time.time() + 300),
        "altered": f"{header}.{altered}.{signature}",
        "of a key that its algorithm does not fit": f"{curve}.{altered}.{signature}",
        "without signature": forged(provider, "none", ""),
        "signed with the public key as a shared secret": forged(provider, "HS256", public),
    }
    async with start(**trusting(provider)) as platform:
        reasons = {what: await refusal(platform, token) for what, token in tokens.items()}
        assert set(reasons.values()) == {"BAD_TOKEN"}, reasons
        assert await refusal(platform, provider.token(exp=time.time() - 60)) == "TOKEN_EXPIRED"
        assert await refusal(platform, "a.b.c") == "BAD_KEY"
        assert await refusal(platform, "nonsense") == "BAD_KEY"


def forged(provider: Provider, algorithm: str, secret: str) -> str:
    """By hand, because the library would not do it."""
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    told = ".".join(encoded(part) for part in ({"alg": algorithm, "typ": "JWT", "kid": "first"}, claims))
    mac = hmac.new(secret.encode(), told.encode(), hashlib.sha256).digest() if secret else b""
    return f"{told}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def test_claims_say_project_and_scope(start: Any, provider: Provider) -> None:
    more = {
        "projects": {"team-a": "default", "team-b": "gone"},
        "scope_claim": "scope",
        "project_claim": "team",
    }
    reading = {"team": "team-a", "scope": "openid ingrain:read"}
    async with start(**trusting(provider, **more)) as platform:
        async with platform.client(provider.token(**reading)) as client:
            await client.models.get("m")
            with pytest.raises(errors.PermissionDenied):
                await client.models.delete("m")
        assert platform.trainer.metadata["ingrain-caller-read-only"] == "true"
        async with platform.client(provider.token(**(reading | {"scope": ["ingrain:ask"]}))) as client:
            with pytest.raises(errors.PermissionDenied) as caught:
                await client.models.get("m")
            assert caught.value.reason == "OUT_OF_SCOPE"
            with pytest.raises(errors.Unavailable):  # nobody is behind, but the door is open
                await client.stubs.inference.Generate(inference_pb2.GenerateRequest())
        for claims, reason in (
            (reading | {"scope": "openid"}, "NO_SCOPE"),
            (reading | {"team": "team-c"}, "NO_PROJECT"),
            (reading | {"team": None}, "NO_PROJECT"),
            (reading | {"team": ["team-a"]}, "NO_PROJECT"),
            (reading | {"team": "team-b"}, "NO_SUCH_PROJECT"),
        ):
            async with platform.client(provider.token(**claims)) as client:
                with pytest.raises(errors.PermissionDenied) as caught:
                    await client.models.get("m")
            assert caught.value.reason == reason


async def test_a_token_without_scopes_makes_no_keys(start: Any, provider: Provider) -> None:
    async with start(**trusting(provider)) as platform, platform.client(provider.token()) as client:
        with pytest.raises(errors.PermissionDenied) as caught:
            await client.stubs.keys.CreateKey(projects_pb2.CreateKeyRequest(parent="projects/default"))
    assert caught.value.reason == "OUT_OF_SCOPE"


async def test_new_keys_are_found_and_no_flood_asks_for_them(
    start: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys["second"] = ec.generate_private_key(ec.SECP256R1())
    async with start(**trusting(provider)) as platform:
        async with platform.client(provider.token()) as client:
            await client.models.get("m")
        for _ in range(5):
            assert await refusal(platform, provider.token("second", "ES256")) == "BAD_TOKEN"
        assert provider.asked.count("/keys") == 1
        monkeypatch.setattr(signing_keys, "AGAIN_S", 0.0)
        provider.published.append("second")
        async with platform.client(provider.token("second", "ES256")) as client:
            await client.models.get("m")
        assert provider.asked.count("/keys") == 2


async def test_a_provider_that_is_away(
    start: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_keys, "AGAIN_S", 0.0)
    provider.is_away = True
    async with start(**trusting(provider)) as platform, platform.client(provider.token()) as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="projects/default/models/m"))
        assert caught.value.reason == "ISSUER_AWAY"
        provider.is_away = False
        await client.models.get("m")
        provider.is_away = True
        monkeypatch.setattr(signing_keys, "FRESH_S", 0.0)
        await client.models.get("m")  # what is known is known


async def test_keys_from_a_file_are_read_anew(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(provider.jwks()))
    keys = SigningKeys(provider.issuer, str(file))
    assert await keys.get("first") is not None
    assert await keys.get(None) is not None
    provider.keys["second"] = rsa.generate_private_key(65537, 2048)
    provider.published = ["second"]
    file.write_text(json.dumps(provider.jwks()))
    keys._looked -= 2 * signing_keys.FRESH_S
    keys._read -= 2 * signing_keys.FRESH_S
    assert await keys.get("second") is not None
    assert await keys.get("first") is None
    assert provider.asked == []


async def test_the_token_for_the_place_is_shown_to_no_other(provider: Provider, tmp_path: Path) -> None:
    bearer = tmp_path / "token"
    bearer.write_text("a-token\n")

    async def shown(place: str = "") -> list[str | None]:
        provider.shown.clear()
        assert await SigningKeys(provider.issuer, place, bearer=bearer).get("first") is not None
        return list(provider.shown)

    port = provider.issuer.rpartition(":")[2]
    assert await shown() == ["Bearer a-token", "Bearer a-token"]
    assert await shown(f"{provider.issuer}/keys") == ["Bearer a-token"]
    provider.place_of_keys = f"http://localhost:{port}/keys"  # another name, whoever answers there
    assert await shown() == ["Bearer a-token", None]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://idp.example/a", "http://idp.example/a"),
        ("https://idp.example/a", "https://idp.example:8443/a"),
        ("https://idp.example/a", "https://idp.example.org/a"),
        ("https://idp.example/a", "https://idp.example@elsewhere.example/a"),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str) -> None:
    assert origin(one) != origin(other)
    assert origin(one) == origin("https://IDP.example:443/b?c#d")


@pytest.mark.parametrize(
    "address", ["http://idp.example/keys", "ftp://127.0.0.1/keys", "http://10.0.0.1/keys"]
)
def test_keys_come_over_https_or_from_this_machine(address: str) -> None:
    with pytest.raises(Invalid, match="https"):
        SigningKeys("https://idp.example", address)


def test_claims_within_claims() -> None:
    claims = {"kubernetes.io": {"namespace": "a"}, "https://x.example/team": "b", "plain": "c"}
    found = [claim(claims, path) for path in ("kubernetes.io/namespace", "https://x.example/team", "plain")]
    assert found == ["a", "b", "c"]
    assert claim(claims, "kubernetes.io/pod/name") is None
    assert claim(claims, "nothing") is None


def test_files_that_are_empty_are_none() -> None:
    issuer = Issuer.model_validate_json(
        '{"issuer": "https://i", "audience": "a", "project_claim": "p", "ca": "", "bearer": ""}'
    )
    assert (issuer.ca, issuer.bearer) == (None, None)


@pytest.mark.parametrize("wrong", [{"algorithms": ["HS256"]}, {"algorithms": ["none"]}, {"audiance": "x"}])
def test_settings_that_would_open_the_door_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"algorithms|audiance"):
        Issuer(**({"issuer": "https://i", "audience": "a", "project_claim": "p"} | wrong))
