"""What every call passes, over gRPC and HTTP alike: who calls, may they, is there a place; and what a backend is told."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from servicekit import identity
from servicekit.errors import PermissionDenied
from services.gateway.auth import Authenticator, out_of_scope
from services.gateway.limits import Limits
from services.gateway.routes import Method


@dataclass(frozen=True)
class Callers:
    authenticator: Authenticator
    limits: Limits
    gateway_token: str = field(repr=False)

    @asynccontextmanager
    async def admitted(self, method: Method, headers: Mapping[str, str]) -> AsyncIterator[identity.Caller]:
        """Holds a place of the caller's project as long as the call lasts."""
        caller = await self.authenticator.caller(headers)
        permit(caller, method)
        async with self.limits.admit(caller, waits=method.waits):
            yield caller

    def metadata(self, caller: identity.Caller, request_id: str) -> list[tuple[str, str]]:
        """A backend believes it because of the token."""
        return [
            (identity.GATEWAY_TOKEN, identity.tokens(self.gateway_token)[0]),
            (identity.CALLER_KIND, caller.kind),
            (identity.CALLER_ID, caller.id),
            (identity.CALLER_PROJECT, caller.project),
            (identity.CALLER_READ_ONLY, "true" if caller.read_only else "false"),
            (identity.REQUEST_ID, request_id),
        ]


def permit(caller: identity.Caller, method: Method) -> None:
    if caller.read_only and not method.reads:
        raise PermissionDenied("READ_ONLY_KEY", f"{caller.id} may only read; {method.path} writes")
    if caller.scopes and not caller.scopes & method.scopes:
        raise out_of_scope(caller, method.path, method.scopes)
