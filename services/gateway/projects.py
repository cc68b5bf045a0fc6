"""Projects and keys: the gateway's own resources."""

import re
from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import projects_pb2 as pb
from ingrain.v1 import projects_pb2_grpc
from servicekit import identity
from servicekit.errors import AlreadyExists, Invalid, PermissionDenied, WrongState
from servicekit.operations import request_digest
from servicekit.resources import Resources, new_id
from services.gateway.auth import Authenticator, Digests, is_operator, new_secret, out_of_scope, scopes_of

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
        require_keeper("CreateKey")
        await self.projects.get(request.parent)
        key = pb.Key(name=f"{request.parent}/keys/{new_id('key')}")
        key.display_name, key.read_only = request.key.display_name, request.key.read_only
        key.scopes.extend(request.key.scopes)
        key.create_time.GetCurrentTime()
        if request.key.HasField("expire_time"):
            key.expire_time.CopyFrom(request.key.expire_time)
        await self._refuse_more(key)
        secret, digest = new_secret(key.name)
        await self.digests.insert(key.name, digest)
        return pb.CreateKeyResponse(key=await self.keys.insert(key), secret=secret)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        identity.authorize(request.parent)
        require_scope("ListKeys", frozenset({"READ", "WRITE", "KEYS"}))
        found, token = await self.keys.list(request.parent, request.page_size, request.page_token)
        return pb.ListKeysResponse(keys=found, next_page_token=token)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.Key:
        identity.authorize(request.name)
        require_keeper("RevokeKey")
        revoked = await self.keys.update(request.name, revoke)
        self.authenticator.forget(request.name)
        return revoked

    async def _refuse_more(self, key: pb.Key) -> None:
        """A key that is found out must not outlive itself by another, nor grow."""
        caller = identity.caller()
        if caller.kind != "user":
            return
        asked = scopes_of(key)
        held = caller.scopes | ({"READ", "ASK"} if "WRITE" in caller.scopes else set())
        if caller.scopes and (not asked or not asked <= held):
            raise out_of_scope(caller, f"a key for {', '.join(sorted(asked)).lower() or 'everything'}", asked)
        if not re.fullmatch(rf"{caller.project}/keys/[^/ ]+", caller.id):
            return  # a token of an identity provider, which tells how long a person may stay
        own = await self.keys.get(caller.id)
        if own.HasField("expire_time") and (
            not key.HasField("expire_time") or key.expire_time.ToSeconds() > own.expire_time.ToSeconds()
        ):
            raise Invalid(
                "OUTLIVES_ITS_MAKER",
                f"{caller.id} ends at {own.expire_time.ToJsonString()}; a key that it makes ends no later",
                field="key.expire_time",
            )


def revoke(key: pb.Key) -> None:
    if not key.HasField("revoke_time"):
        key.revoke_time.GetCurrentTime()


def require_operator() -> None:
    if not is_operator(identity.caller()):
        raise PermissionDenied("OPERATORS_ONLY", "only the operator of the platform may do this")


def require_keeper(method: str) -> None:
    if identity.caller().read_only:
        raise PermissionDenied("READ_ONLY_KEY", f"{identity.caller().id} may only read")
    require_scope(method, frozenset({"KEYS"}))


def require_scope(method: str, needed: frozenset[str]) -> None:
    caller = identity.caller()
    if caller.scopes and not caller.scopes & needed:
        raise out_of_scope(caller, method, needed)
