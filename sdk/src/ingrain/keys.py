"""`client.projects` and `client.keys`: who may come in."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta, timezone

from ingrain import errors
from ingrain.names import project_name
from ingrain.resource import Resource, pages
from ingrain.v1 import projects_pb2 as pb


class AsyncProjects(Resource):
    """Operators only, but for reading."""

    async def create(self, id: str, display_name: str = "") -> pb.Project:
        request = pb.CreateProjectRequest(project_id=id, project=pb.Project(display_name=display_name))
        return await self._client.stubs.projects.CreateProject(request)

    async def get(self, name: str) -> pb.Project:
        return await self._client.stubs.projects.GetProject(pb.GetProjectRequest(name=project_name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Project]:
        request = pb.ListProjectsRequest(page_size=page_size)
        return pages(self._client.stubs.projects.ListProjects, request, "projects")

    async def delete(self, name: str) -> None:
        await self._client.stubs.projects.DeleteProject(pb.DeleteProjectRequest(name=project_name(name)))


class AsyncKeys(Resource):
    collection = "keys"

    async def create(
        self,
        display_name: str = "",
        read_only: bool = False,
        expire_time: datetime | timedelta | None = None,
        scopes: Sequence[str] = (),
    ) -> pb.CreateKeyResponse:
        """The answer's `secret` is shown this once.

        `expire_time`: when it ends, or after how long; None: never. `scopes`: of `read`, `ask`, `write` and `keys`;
        none: everything.
        """
        key = pb.Key(display_name=display_name, read_only=read_only, scopes=[scope_of(s) for s in scopes])
        if isinstance(expire_time, timedelta):
            expire_time = datetime.now(timezone.utc) + expire_time
        if expire_time is not None:
            key.expire_time.FromDatetime(expire_time)
        request = pb.CreateKeyRequest(parent=self._client.parent, key=key)
        return await self._client.stubs.keys.CreateKey(request)

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Key]:
        request = pb.ListKeysRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.keys.ListKeys, request, "keys")

    async def revoke(self, name: str) -> pb.Key:
        return await self._client.stubs.keys.RevokeKey(pb.RevokeKeyRequest(name=self._name(name)))


def scope_of(word: str) -> int:
    known = [name for name, number in pb.Key.Scope.items() if number]
    if word.upper() not in known:
        raise errors.Invalid(f"unknown scope {word!r}; one of {', '.join(known).lower()}")
    return pb.Key.Scope.Value(word.upper())


def state_of(key: pb.Key) -> str:
    """`valid`, `expired` or `revoked`, by this machine's clock."""
    if key.HasField("revoke_time"):
        return "revoked"
    if key.HasField("expire_time") and key.expire_time.ToDatetime(timezone.utc) <= datetime.now(timezone.utc):
        return "expired"
    return "valid"


def scopes_of(key: pb.Key) -> list[str]:
    """In small letters; empty: everything."""
    return ["read"] if key.read_only else [pb.Key.Scope.Name(scope).lower() for scope in key.scopes]
