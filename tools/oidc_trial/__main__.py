"""`make oidc-trial`: a gateway and a certified OpenID provider (npm's oidc-provider), both on this machine.

    python -m tools.oidc_trial FOLDER    FOLDER/node_modules has the provider

The gateway is told the issuer and an authority, and nothing else: it finds the keys by the discovery document, over https. Prints a line for each
thing that was tried; exit code 1 where one is not as it should be.
"""

import asyncio
import base64
import json
import logging
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ingrain import AsyncClient, errors
from ingrain.v1 import projects_pb2
from services.gateway import signing_keys
from services.gateway.server import build
from services.gateway.settings import GatewaySettings
from services.gateway.tokens import Issuer
from services.supervisor.plan import free_ports
from tools.oidc_trial.authority import signed_for_localhost

CLIENT = {"id": "nightly", "secret": "a-secret-of-the-trial-alone"}
TEAM = "research"
START_S = 60.0
LIFETIME_S = 120
SHORT_S = 1
HELD_S = 5.0  # in place of five minutes: so long a key that was withdrawn is believed
LET_IN = "let in"
here = Path(__file__).parent


def private_key(kid: str, kind: str) -> dict[str, Any]:
    if kind == "RS256":
        made = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True)
    else:
        made = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    return {name: value for name, value in made.items() if name != "key_ops"} | {
        "kid": kid,
        "alg": kind,
        "use": "sig",
    }


class Provider:
    """Runs within `running`; the first of the keys signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.issuer = f"https://localhost:{self.port}"
        self.authority = signed_for_localhost(folder)

    @asynccontextmanager
    async def running(self, *keys: dict[str, Any], lifetime_s: int = LIFETIME_S) -> AsyncIterator[None]:
        settings = {
            "port": self.port,
            "key": str(self.folder / "tls.key"),
            "certificate": str(self.folder / "tls.crt"),
            "jwks": {"keys": list(keys)},
            "client": CLIENT,
            "team": TEAM,
            "lifetime_s": lifetime_s,
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        with (self.folder / "provider.log").open("ab") as log:
            process = subprocess.Popen(
                ["node", "provider.mjs", "settings.json"], cwd=self.folder, stdout=log, stderr=log
            )
        try:
            await self._until_it_answers(process)
            yield
        finally:
            process.terminate()
            process.wait(30)

    async def token(self, resource: str) -> str:
        """By client credentials, for that resource."""
        asked = {"grant_type": "client_credentials", "resource": resource, "scope": "ingrain:read"}
        async with self._session() as session:
            basic = base64.b64encode(f"{CLIENT['id']}:{CLIENT['secret']}".encode()).decode()
            headers = {"authorization": f"Basic {basic}"}
            async with session.post(f"{self.issuer}/token", data=asked, headers=headers) as answer:
                told = await answer.json()
        if "access_token" not in told:
            raise RuntimeError(f"the provider gives no token: {told}")
        return str(told["access_token"])

    async def _until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                async with self._session() as session:
                    async with session.get(f"{self.issuer}/.well-known/openid-configuration") as answer:
                        if answer.status == 200:
                            return
            except aiohttp.ClientError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "provider.log").read_text()[-2000:]) from None
            await asyncio.sleep(0.2)

    def _session(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=str(self.authority))
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


class Trial:
    def __init__(self, port: int) -> None:
        self.port = port
        self.wrong = 0

    async def answer(self, token: str, project: str = "default") -> str:
        """ "let in", or the reason of the refusal."""
        async with AsyncClient(f"127.0.0.1:{self.port}", api_key=token) as client:
            try:
                await client.stubs.projects.GetProject(
                    projects_pb2.GetProjectRequest(name=f"projects/{project}")
                )
            except errors.IngrainError as error:
                return error.reason
        return LET_IN

    def expect(self, what: str, found: str, wanted: str) -> None:
        right = found == wanted
        self.wrong += not right
        print(f"{'ok   ' if right else 'WRONG'} {what}: {found}{'' if right else f', not {wanted}'}")

    async def until(self, what: str, token: str, wanted: str, limit_s: float) -> None:
        begun = time.monotonic()
        while (found := await self.answer(token)) != wanted and time.monotonic() - begun < limit_s:
            await asyncio.sleep(0.5)
        self.expect(f"{what}, after {time.monotonic() - begun:.1f} s", found, wanted)


async def tried(folder: Path) -> int:
    provider = Provider(folder)
    first, second = private_key("first", "RS256"), private_key("second", "ES256")
    issuer = Issuer(
        issuer=provider.issuer,
        audience="ingrain",
        project_claim="team",
        projects={TEAM: "default"},
        scope_claim="scope",
        ca=provider.authority,
    )
    gateway = await build(
        GatewaySettings(
            require_keys=True, oidc=(issuer,), database_url=f"sqlite:///{folder / 'gateway.sqlite'}"
        )
    )
    await gateway.server.start()
    trial = Trial(gateway.port)
    async with provider.running(first, lifetime_s=SHORT_S):
        short = await provider.token("https://ingrain")
        trial.expect("a token that has not ended, RS256", await trial.answer(short), LET_IN)
    async with provider.running(first):
        token = await provider.token("https://ingrain")
        told = jwt.decode(token, options={"verify_signature": False})
        print(f"      its header {jwt.get_unverified_header(token)}, its claims {sorted(told)}")
        trial.expect("the same for another project", await trial.answer(token, "other"), "RESOURCE_NOT_FOUND")
        other = await provider.token("https://elsewhere")
        trial.expect("a token for another audience", await trial.answer(other), "BAD_TOKEN")
        header, payload, signature = token.split(".")
        changed = f"{header}.{payload}.{signature[:-8]}AAAAAAAA"
        trial.expect("a token whose signature was changed", await trial.answer(changed), "BAD_TOKEN")
    trial.expect("a token while the provider is away", await trial.answer(token), LET_IN)
    async with provider.running(second, first):
        renewed = await provider.token("https://ingrain")
        limit_s = 4 * signing_keys.AGAIN_S
        await trial.until("a token by a new key, ES256", renewed, LET_IN, limit_s)
        trial.expect("one by the key before it", await trial.answer(token), LET_IN)
        await trial.until("a token that has ended, of ten seconds' leeway", short, "TOKEN_EXPIRED", 30.0)
    async with provider.running(second):
        await trial.until("one by a key that was withdrawn", token, "BAD_TOKEN", 6 * HELD_S)
        trial.expect("one by the key that is left", await trial.answer(renewed), LET_IN)
    await gateway.stop(1)
    return 1 if trial.wrong else 0


def main(modules: str) -> int:
    signing_keys.FRESH_S = HELD_S
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(here / "provider.mjs", folder)
        (folder / "node_modules").symlink_to((Path(modules) / "node_modules").resolve())
        return asyncio.run(tried(folder))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
