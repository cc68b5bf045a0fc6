"""Tokens of identity providers (OIDC) -> Caller: people, and pods by their projected ServiceAccount tokens.

A token is believed where a key of its issuer signed it with one of the issuer's algorithms, it is for our audience, it
has not ended, and one of its claims says which project it is for. Nothing that stands in it chooses key or algorithm.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import jwt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ingrain.v1 import projects_pb2
from servicekit.errors import Invalid, PermissionDenied, Unauthenticated
from servicekit.identity import Caller
from services.gateway.signing_keys import SigningKeys

LEEWAY_S = 10  # between the issuer's clock and ours
GREATEST_SUBJECT = 200
SCOPES = frozenset(projects_pb2.Key.Scope.keys()) - {"SCOPE_UNSPECIFIED"}
# Of a token that says nothing of scopes: everything but keys, which would outlive it.
UNSCOPED = frozenset({"WRITE"})

# None that a public key could be taken for a shared secret by, and not `none`.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Issuer(BaseModel):
    """An identity provider, and what its tokens mean here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1)  # as in the claim `iss`, to the letter
    audience: str = Field(min_length=1)  # one of the claim `aud`
    jwks: str = ""  # its public keys: a file, or an https address; empty: where its discovery document says
    project_claim: str = Field(
        min_length=1
    )  # names the project; `kubernetes.io/namespace` is one within another
    projects: dict[str, str] = {}  # that claim's value -> project's id; empty: the value is the id
    scope_claim: str = ""  # words or a list, of which those beginning with `ingrain:` count; empty: WRITE
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256")
    ca: Path | None = None  # authority of the https address
    bearer: Path | None = None  # file with a token to show there, as Kubernetes' API server wants one

    @field_validator("ca", "bearer", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class Tokens:
    """Raises Unauthenticated for a token that is not to be believed, PermissionDenied where it opens nothing here."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._issuers: dict[str, tuple[Issuer, SigningKeys]] = {}
        for issuer in issuers:
            if issuer.issuer in self._issuers:
                raise Invalid("ISSUER_TWICE", f"{issuer.issuer} stands twice in INGRAIN_OIDC", field="oidc")
            keys = SigningKeys(issuer.issuer, issuer.jwks, ca=issuer.ca, bearer=issuer.bearer)
            self._issuers[issuer.issuer] = issuer, keys

    async def caller(self, token: str) -> Caller:
        issuer, claims = await self._claims(token)
        project = _project(issuer, claims)
        scopes = _scopes(issuer, claims)
        subject = quote(str(claims["sub"]), safe=":/@.-_|~+=,")[:GREATEST_SUBJECT]
        return Caller("user", f"{subject} of {issuer.issuer}", project, scopes == {"READ"}, scopes)

    async def _claims(self, token: str) -> tuple[Issuer, dict[str, Any]]:
        try:
            header = jwt.get_unverified_header(token)
            named = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.InvalidTokenError, ValueError):
            raise Unauthenticated(
                "BAD_KEY",
                "this is neither an API key nor a token; send `authorization: Bearer <key or token>`",
            ) from None
        if not isinstance(named, str) or named not in self._issuers:
            raise _refused("its issuer is not one that is trusted here")
        issuer, keys = self._issuers[named]
        key = await keys.get(header.get("kid"))
        if key is None:
            raise _refused("no key of its issuer signed it")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=list(issuer.algorithms),
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired; get a new one") from None
        except jwt.InvalidAudienceError:
            raise _refused(f"it is for another audience; have one issued for {issuer.audience!r}") from None
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused(_why(error)) from None
        return issuer, claims


def _project(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    value = claim(claims, issuer.project_claim)
    if not isinstance(value, str) or not value:
        raise PermissionDenied(
            "NO_PROJECT", f"the token says no project: it has no claim {issuer.project_claim}"
        )
    id = issuer.projects.get(value, "") if issuer.projects else value
    if not id:
        raise PermissionDenied(
            "NO_PROJECT", f"no project belongs to {issuer.project_claim} {value[:100]!r} here"
        )
    return f"projects/{id}"


def _scopes(issuer: Issuer, claims: Mapping[str, Any]) -> frozenset[str]:
    if not issuer.scope_claim:
        return UNSCOPED
    value = claim(claims, issuer.scope_claim)
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    said = {str(word).removeprefix("ingrain:").upper() for word in words if str(word).startswith("ingrain:")}
    if not said & SCOPES:
        known = ", ".join(f"ingrain:{scope.lower()}" for scope in sorted(SCOPES))
        raise PermissionDenied("NO_SCOPE", f"the token's {issuer.scope_claim} has none of: {known}")
    return frozenset(said & SCOPES)


def claim(claims: Any, path: str) -> Any:
    """By name; or `a/b`, b within a, where names may have slashes themselves. None where it is missing."""
    if not isinstance(claims, Mapping):
        return None
    if path in claims:
        return claims[path]
    for place, letter in enumerate(path):
        if letter == "/" and (found := claim(claims.get(path[:place]), path[place + 1 :])) is not None:
            return found
    return None


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated("BAD_TOKEN", f"the token is refused: {why}")


def _why(error: Exception) -> str:
    """In words of ours: a library's may quote what is secret."""
    told = {
        jwt.ImmatureSignatureError: "it is not valid yet",
        jwt.MissingRequiredClaimError: "it lacks one of exp, iss, aud, sub",
        jwt.InvalidAlgorithmError: "it is signed by an algorithm that is not allowed",
        jwt.InvalidIssuedAtError: "it was issued in the future",
    }
    return told.get(type(error), "no key of its issuer signed it")
