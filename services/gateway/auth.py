"""Credentials -> Caller: API keys, tokens of an identity provider, and what services and operators show.

Secrets of keys are 32 random bytes; only their sha256 is kept.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from ingrain.v1 import projects_pb2
from servicekit.database import Database
from servicekit.database import metadata as tables
from servicekit.errors import Invalid, NotFound, PermissionDenied, Unauthenticated
from servicekit.identity import ALL_PROJECTS, ON_BEHALF_OF, OPERATOR, Caller, is_one_of
from servicekit.resources import Resources
from services.gateway.tokens import Tokens

key_digest = sa.Table(
    "key_digest",
    tables,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("digest", sa.String(64)),
)
KEY_PREFIX = "ingrain_"
CACHE_S = 3.0  # a key that another gateway revoked works at most so long


@dataclass(frozen=True)
class Secret:
    """`ingrain_<project>.<key id>.<64 hex digits>`, as the caller sends it."""

    key_name: str
    digest: str


def new_secret(key_name: str) -> tuple[str, str]:
    """The secret for the caller, and the digest that is kept."""
    _, project, _, key = key_name.split("/")
    text = f"{KEY_PREFIX}{project}.{key}.{secrets.token_hex(32)}"
    return text, hashlib.sha256(text.encode()).hexdigest()


def parse_secret(text: str) -> Secret:
    parts = text.removeprefix(KEY_PREFIX).split(".")
    if not text.startswith(KEY_PREFIX) or len(parts) != 3:
        raise Unauthenticated("BAD_KEY", "the API key is malformed; send it as `authorization: Bearer <key>`")
    return Secret(f"projects/{parts[0]}/keys/{parts[1]}", hashlib.sha256(text.encode()).hexdigest())


class Digests:
    """Digests of the keys' secrets, in a table of their own so that no List or log can show them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, name: str, digest: str) -> None:
        await self._database.run(lambda c: c.execute(key_digest.insert().values(name=name, digest=digest)))

    async def get(self, name: str) -> str:
        query = sa.select(key_digest.c.digest).where(key_digest.c.name == name)
        return str(await self._database.run(lambda c: c.execute(query).scalar_one()))


class Authenticator:
    """An empty `service_token` or `operator_token` is nobody's; `open_door` lets callers without credentials in as
    operator."""

    def __init__(
        self,
        projects: Resources[projects_pb2.Project],
        keys: Resources[projects_pb2.Key],
        digests: Digests,
        *,
        service_token: str,
        operator_token: str,
        open_door: bool,
        tokens: Tokens | None = None,
    ) -> None:
        self._projects = projects
        self._keys = keys
        self._digests = digests
        self._service_token = service_token
        self._operator_token = operator_token
        self._open_door = open_door
        self._tokens = tokens
        self._cache: dict[str, tuple[float, projects_pb2.Key, str]] = {}
        self._projects_seen: dict[str, float] = {}

    async def caller(self, metadata: Mapping[str, str]) -> Caller:
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if not scheme:
            if self._open_door:
                return OPERATOR
            raise Unauthenticated("NO_CREDENTIALS", "send an API key as `authorization: Bearer <key>`")
        if scheme.lower() != "bearer" or not token or not token.isascii():
            raise Unauthenticated("BAD_KEY", "the authorization header must be `Bearer <key>`")
        if self._service_token and is_one_of(token, self._service_token):
            return _service(metadata)
        if is_same(token, self._operator_token):
            return OPERATOR
        if self._tokens is not None and not token.startswith(KEY_PREFIX):
            return await self._known(await self._tokens.caller(token))
        return await self._user(parse_secret(token))

    async def _user(self, secret: Secret) -> Caller:
        key, digest = await self._look_up(secret.key_name)
        if not is_same(secret.digest, digest):
            raise refused()
        if key.HasField("revoke_time"):
            raise Unauthenticated("KEY_REVOKED", f"{key.name} was revoked; ask for a new key")
        if key.HasField("expire_time") and key.expire_time.ToSeconds() <= time.time():
            raise Unauthenticated("KEY_EXPIRED", f"{key.name} has expired; ask for a new key")
        scopes = scopes_of(key)
        return Caller("user", key.name, project_of(key.name), scopes == {"READ"}, scopes)

    async def _known(self, caller: Caller) -> Caller:
        """Who a token names, if the platform has the project; it ends with the project, as keys do."""
        if time.monotonic() - self._projects_seen.get(caller.project, -CACHE_S) >= CACHE_S:
            try:
                await self._projects.get(caller.project)
            except (NotFound, Invalid):
                self._projects_seen.pop(caller.project, None)
                raise PermissionDenied(
                    "NO_SUCH_PROJECT",
                    f"the token is for {caller.project}, which is not here; ask the operator for it",
                ) from None
            self._projects_seen[caller.project] = time.monotonic()
        return caller

    def forget(self, key_name: str) -> None:
        """The next call with this key is looked up afresh."""
        self._cache.pop(key_name, None)

    async def _look_up(self, name: str) -> tuple[projects_pb2.Key, str]:
        cached = self._cache.get(name)
        if cached and time.monotonic() - cached[0] < CACHE_S:
            return cached[1], cached[2]
        try:
            await self._projects.get(project_of(name))  # a deleted project's keys end with it
            key, digest = await self._keys.get(name), await self._digests.get(name)
        except (NotFound, Invalid):
            raise refused() from None
        self._cache[name] = (time.monotonic(), key, digest)
        return key, digest


def _service(metadata: Mapping[str, str]) -> Caller:
    project = metadata.get(ON_BEHALF_OF, "")
    if not re.fullmatch(r"projects/[^/]+", project):
        raise PermissionDenied(
            "NO_PROJECT", f"a service says for whom it acts: `{ON_BEHALF_OF}: projects/<project>`"
        )
    return Caller("service", "service", project)


def scopes_of(key: projects_pb2.Key) -> frozenset[str]:
    """Empty: everything. Of a key that says both, the narrower word counts."""
    if key.read_only:
        return frozenset({"READ"})
    return frozenset(projects_pb2.Key.Scope.Name(scope) for scope in key.scopes)


def out_of_scope(caller: Caller, what: str, needed: frozenset[str]) -> PermissionDenied:
    has, wanted = (", ".join(sorted(scopes)).lower() for scopes in (caller.scopes, needed))
    return PermissionDenied("OUT_OF_SCOPE", f"{caller.id} may {has}; {what} needs one of: {wanted}")


def project_of(key_name: str) -> str:
    return key_name.partition("/keys/")[0]


def is_same(shown: str, secret: str) -> bool:
    """In a time that does not tell how much of it is right. An empty secret is nobody's."""
    return bool(secret) and hmac.compare_digest(shown.encode(), secret.encode())


def refused() -> Unauthenticated:
    return Unauthenticated("BAD_KEY", "the API key is not known here")


def is_operator(caller: Caller) -> bool:
    return caller.kind == "operator" and caller.project == ALL_PROJECTS
