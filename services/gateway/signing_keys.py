"""An issuer's public keys, from a file or over https, held for a while and asked for again when one is new."""

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
import structlog

from servicekit.errors import Invalid, Unavailable
from servicekit.server import is_loopback

FRESH_S = 300.0  # so long a key that was withdrawn may still be believed
AGAIN_S = 5.0  # least time between two looks, whatever tokens come
TIMEOUT_S = 5.0
GREATEST_BYTES = 1 << 20
DISCOVERY = "/.well-known/openid-configuration"
log = structlog.get_logger()


class SigningKeys:
    """What was read last is kept as long as the place cannot be reached. Raises Invalid for an address that is neither
    https nor on this machine.

    `bearer` is a file with a token for the place itself, the issuer's discovery document where none is given. Where that
    document names another scheme, host or port for the keys, they are asked for without it.
    """

    def __init__(
        self, issuer: str, place: str, *, ca: Path | None = None, bearer: Path | None = None
    ) -> None:
        self._issuer = issuer
        self._place = place or issuer.rstrip("/") + DISCOVERY
        self._discovers = not place
        self._ca = ca
        self._bearer = bearer
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read = self._looked = -FRESH_S
        self._looking: asyncio.Task[None] | None = None
        if self._discovers or "://" in place:
            refuse_plain(self._place)

    async def get(self, kid: str | None) -> jwt.PyJWK | None:
        """The key of this id; without an id the only one there is. Raises Unavailable where none was ever read.

        Who shows a key that is known does not wait for a look at the place.
        """
        found = self._find(kid)
        now = time.monotonic()
        if now - self._looked >= AGAIN_S and (found is None or now - self._read >= FRESH_S):
            self._looked = now
            self._looking = asyncio.create_task(self._look())
        if found is None and self._looking is not None:
            await asyncio.shield(self._looking)
            found = self._find(kid)
        if not self._keys:
            raise Unavailable(
                "ISSUER_AWAY", f"the keys of {self._issuer} cannot be read; try again", retry_after_s=AGAIN_S
            )
        return found

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    async def _look(self) -> None:
        try:
            found = await self._fetch()
        except Exception as error:  # whatever a foreign server answers is no fault of the caller's
            log.warning("issuer_keys_not_read", issuer=self._issuer, error=repr(error))
            return
        self._keys = {key.key_id: key for key in found}
        self._read = time.monotonic()

    async def _fetch(self) -> list[jwt.PyJWK]:
        if "://" not in self._place:
            return keys_in(json.loads(Path(self._place).read_bytes()))
        context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            place = self._place
            if self._discovers:
                document = await self._json(session, place)
                if document.get("issuer") != self._issuer:
                    raise ValueError("the discovery document is another issuer's")
                place = str(document["jwks_uri"])
                refuse_plain(place)
            return keys_in(await self._json(session, place))

    async def _json(self, session: aiohttp.ClientSession, address: str) -> Any:
        headers = {}
        if self._bearer and origin(address) == origin(self._place):
            headers["authorization"] = f"Bearer {self._bearer.read_text().strip()}"
        async with session.get(address, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"{address} answers {response.status}")
            body = b""
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > GREATEST_BYTES:
                    raise ValueError(f"{address} answers more than {GREATEST_BYTES} bytes")
            return json.loads(body)


def keys_in(document: Any) -> list[jwt.PyJWK]:
    """Those that sign, are public, and are understood."""
    found = []
    for entry in document["keys"] if isinstance(document, dict) and "keys" in document else []:
        if entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            found.append(jwt.PyJWK(entry))
        except jwt.PyJWTError as error:
            log.warning("issuer_key_not_understood", kid=str(entry.get("kid"))[:100], error=repr(error))
    if not found:
        raise ValueError("no key in it that signs")
    return found


def origin(address: str) -> tuple[str, str | None, int]:
    """Scheme, host and port: who reads what is sent there."""
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def refuse_plain(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise Invalid(
        "PLAIN_ISSUER", f"{address}: keys are fetched over https, or given as a file (jwks)", field="oidc"
    )
