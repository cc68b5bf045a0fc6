"""Projects and keys: the gateway's own resources."""

from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import projects_pb2 as pb
from ingrain.v1 import projects_pb2_grpc
from servicekit import identity
from servicekit.errors import AlreadyExists, PermissionDenied, WrongState
from servicekit.operations import request_digest
from servicekit.resources import Resources, new_id
from services.gateway.auth import Authenticator, Digests, is_operator, new_secret

DEFAULT_PROJECT = "projects/default"


async def ensure_default(projects: Resources[pb.Project]) -> None:
    """`projects/default` is there from the first start."""
    project = pb.Project(name=DEFAULT_PROJECT, display_name="default")
    project.create_time.GetCurrentTime()
    try:
        await projects.insert(project)
    except AlreadyExists:
        return


class ProjectsServicer(projects_pb2_grpc.ProjectsServicer):
    def __init__(self, projects: Resources[pb.Project]) -> None:
        self.projects = projects

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.Project:
        require_operator()
        project = pb.Project(name=f"projects/{request.project_id}", display_name=request.project.display_name)
        project.create_time.GetCurrentTime()
        return await self.projects.insert(project, request.request_id, request_digest(request))

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.Project:
        identity.authorize(request.name)
        return await self.projects.get(request.name)

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Any) -> pb.ListProjectsResponse:
        caller = identity.caller()
        if caller.project != identity.ALL_PROJECTS:
            return pb.ListProjectsResponse(projects=[await self.projects.get(caller.project)])
        found, token = await self.projects.list("", request.page_size, request.page_token)
        return pb.ListProjectsResponse(projects=found, next_page_token=token)

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> empty_pb2.Empty:
        require_operator()
        if request.name == DEFAULT_PROJECT:
            raise WrongState("DEFAULT_PROJECT", f"{DEFAULT_PROJECT} is always there; delete what lies in it")
        await self.projects.delete(request.name)
        return empty_pb2.Empty()


class KeysServicer(projects_pb2_grpc.KeysServicer):
    def __init__(
        self,
        projects: Resources[pb.Project],
        keys: Resources[pb.Key],
        digests: Digests,
        authenticator: Authenticator,
    ) -> None:
        self.projects = projects
        self.keys = keys
        self.digests = digests
        self.authenticator = authenticator

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Any) -> pb.CreateKeyResponse:
        identity.authorize(request.parent)
        require_writer()
        await self.projects.get(request.parent)
        key = pb.Key(name=f"{request.parent}/keys/{new_id('key')}")
        key.display_name, key.read_only = request.key.display_name, request.key.read_only
        key.create_time.GetCurrentTime()
        if request.key.HasField("expire_time"):
            key.expire_time.CopyFrom(request.key.expire_time)
        secret, digest = new_secret(key.name)
        await self.digests.insert(key.name, digest)
        return pb.CreateKeyResponse(key=await self.keys.insert(key), secret=secret)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        identity.authorize(request.parent)
        found, token = await self.keys.list(request.parent, request.page_size, request.page_token)
        return pb.ListKeysResponse(keys=found, next_page_token=token)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.Key:
        identity.authorize(request.name)
        require_writer()
        revoked = await self.keys.update(request.name, revoke)
        self.authenticator.forget(request.name)
        return revoked


def revoke(key: pb.Key) -> None:
    if not key.HasField("revoke_time"):
        key.revoke_time.GetCurrentTime()


def require_operator() -> None:
    if not is_operator(identity.caller()):
        raise PermissionDenied("OPERATORS_ONLY", "only the operator of the platform may do this")


def require_writer() -> None:
    if identity.caller().read_only:
        raise PermissionDenied("READ_ONLY_KEY", f"{identity.caller().id} may only read")
