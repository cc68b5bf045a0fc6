"""`client.projects` and `client.keys`: who may come in."""

from collections.abc import AsyncIterator
from datetime import datetime

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
        self, display_name: str = "", read_only: bool = False, expire_time: datetime | None = None
    ) -> pb.CreateKeyResponse:
        """The answer's `secret` is shown this once."""
        key = pb.Key(display_name=display_name, read_only=read_only)
        if expire_time is not None:
            key.expire_time.FromDatetime(expire_time)
        request = pb.CreateKeyRequest(parent=self._client.parent, key=key)
        return await self._client.stubs.keys.CreateKey(request)

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Key]:
        request = pb.ListKeysRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.keys.ListKeys, request, "keys")

    async def revoke(self, name: str) -> pb.Key:
        return await self._client.stubs.keys.RevokeKey(pb.RevokeKeyRequest(name=self._name(name)))
