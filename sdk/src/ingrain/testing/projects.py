"""The fake's projects and keys. A key that was made lets its owner in to its project, within its scopes, until it ends."""

import secrets
from typing import Any

from google.protobuf import empty_pb2

from ingrain.testing.store import Refused, Store
from ingrain.v1 import projects_pb2 as pb
from ingrain.v1 import projects_pb2_grpc

DEFAULT_PROJECT = "projects/default"


class Projects(projects_pb2_grpc.ProjectsServicer):
    def __init__(self, store: Store) -> None:
        self.store = store
        self._add(pb.Project(name=DEFAULT_PROJECT, display_name="default"))

    def _add(self, project: pb.Project) -> pb.Project:
        project.create_time.GetCurrentTime()
        self.store.resources[project.name] = project
        return project

    def CreateProject(self, request: Any, context: Any) -> pb.Project:
        def make() -> pb.Project:
            name = self.store.new_name("", "projects", request.project_id)
            return self._add(pb.Project(name=name, display_name=request.project.display_name))

        return self.store.once(request, make)

    def GetProject(self, request: Any, context: Any) -> pb.Project:
        return self.store.get(request.name)

    def ListProjects(self, request: Any, context: Any) -> pb.ListProjectsResponse:
        found, token = self.store.page("", "projects", request)
        return pb.ListProjectsResponse(projects=found, next_page_token=token)

    def DeleteProject(self, request: Any, context: Any) -> empty_pb2.Empty:
        if request.name == DEFAULT_PROJECT:
            message = f"{DEFAULT_PROJECT} is always there; delete what lies in it"
            raise Refused("FAILED_PRECONDITION", "DEFAULT_PROJECT", message)
        self.store.delete(request.name)
        return empty_pb2.Empty()


class Keys(projects_pb2_grpc.KeysServicer):
    def __init__(self, store: Store) -> None:
        self.store = store

    def CreateKey(self, request: Any, context: Any) -> pb.CreateKeyResponse:
        project = self.store.get(request.parent)
        given = request.key
        key = pb.Key(name=self.store.new_name(project.name, "keys", ""), display_name=given.display_name)
        key.read_only = given.read_only
        key.scopes.extend(given.scopes)
        key.create_time.GetCurrentTime()
        if given.HasField("expire_time"):
            key.expire_time.CopyFrom(given.expire_time)
        secret = f"ingrain_{project.name[9:]}.{key.name.rpartition('/')[2]}.{secrets.token_hex(32)}"
        with self.store.changed:
            self.store.resources[key.name] = self.store.keys[secret] = key
        return pb.CreateKeyResponse(key=key, secret=secret)

    def ListKeys(self, request: Any, context: Any) -> pb.ListKeysResponse:
        found, token = self.store.page(request.parent, "keys", request)
        return pb.ListKeysResponse(keys=found, next_page_token=token)

    def RevokeKey(self, request: Any, context: Any) -> pb.Key:
        key = self.store.get(request.name)
        with self.store.changed:
            if not key.HasField("revoke_time"):
                key.revoke_time.GetCurrentTime()
        return key
