"""Who may do what: a matrix of credentials over every method of the descriptors, so that none can be forgotten."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.timestamp_pb2 import Timestamp

from ingrain import AsyncClient, errors
from ingrain.v1 import projects_pb2, trainer_pb2
from services.gateway import routes

OWN_METHODS = [
    f"/{service}/{method.name}"
    for service in routes.OWN_SERVICES
    for method in descriptor_pool.Default().FindServiceByName(service).methods
]
SERVICE, OPERATOR = "Bearer service-token", "Bearer operator-token"
GetModel = "/ingrain.v1.Trainer/GetModel"
MODEL = trainer_pb2.GetModelRequest(name="projects/default/models/m").SerializeToString()
REFUSED = {
    "none": lambda secret: "",
    "malformed": lambda secret: "Bearer nonsense",
    "empty": lambda secret: "Bearer ",
    "not a bearer": lambda secret: f"Basic {secret}",
    "wrong secret": lambda secret: f"Bearer {secret[:-4]}0000",
    "another project's": lambda secret: f"Bearer {secret.replace('default', 'other')}",
    "unknown key": lambda secret: f"Bearer {secret.replace('.key-', '.key-0')}",
    "nearly a service": lambda secret: f"{SERVICE}s",
}


@pytest.mark.parametrize("credentials", [*REFUSED, "revoked", "expired"])
async def test_bad_credentials_let_nobody_in_anywhere(closed: Any, credentials: str) -> None:
    expired = {"expire_time": Timestamp(seconds=1)} if credentials == "expired" else {}
    made = await closed.new_key(**expired)
    if credentials == "revoked":
        assert await closed.status(GetModel, f"Bearer {made.secret}", MODEL) == grpc.StatusCode.OK
        await revoke(closed, made.key.name)
    make: Callable[[str], str] = REFUSED.get(credentials, lambda secret: f"Bearer {secret}")
    for method in [*routes.METHODS, *OWN_METHODS]:
        assert await closed.status(method, make(made.secret)) == grpc.StatusCode.UNAUTHENTICATED, method


async def revoke(platform: Any, name: str) -> projects_pb2.Key:
    async with platform.client("operator-token") as client:
        return await client.stubs.keys.RevokeKey(projects_pb2.RevokeKeyRequest(name=name))


async def test_read_only_keys_only_read(closed: Any) -> None:
    made = await closed.new_key(read_only=True)
    bearer = f"Bearer {made.secret}"
    assert await closed.status(GetModel, bearer, MODEL) == grpc.StatusCode.OK
    writing = [method.path for method in routes.METHODS.values() if not method.reads]
    assert "/ingrain.v1.Trainer/CreateModel" in writing
    assert "/google.longrunning.Operations/CancelOperation" in writing
    for method in writing:
        assert await closed.status(method, bearer) == grpc.StatusCode.PERMISSION_DENIED, method
    reading = [method.path for method in routes.METHODS.values() if method.reads]
    for method in reading:  # requests that are empty pass the gateway and break rules of the backends
        assert await closed.status(method, bearer) != grpc.StatusCode.PERMISSION_DENIED, method


async def test_read_only_keys_make_and_revoke_no_keys(closed: Any) -> None:
    made = await closed.new_key(read_only=True)
    async with closed.client(made.secret) as client:
        with pytest.raises(errors.PermissionDenied):
            await client.stubs.keys.CreateKey(projects_pb2.CreateKeyRequest(parent="projects/default"))
        with pytest.raises(errors.PermissionDenied):
            await client.stubs.keys.RevokeKey(projects_pb2.RevokeKeyRequest(name=made.key.name))


async def test_good_credentials_are_who_they_are(closed: Any) -> None:
    made = await closed.new_key()
    async with closed.client(made.secret) as client:
        assert (await client.models.get("m")).display_name == "user"
        assert closed.trainer.metadata["ingrain-caller-project"] == "projects/default"
    async with closed.client("service-token", ingrain_on_behalf_of="projects/default") as client:
        assert (await client.models.get("m")).display_name == "service"
    async with closed.client("operator-token") as client:
        assert (await client.models.get("m")).display_name == "operator"


@pytest.mark.parametrize("project", ["", "default", "projects/", "projects/a/b"])
async def test_a_service_says_for_whom_it_acts(closed: Any, project: str) -> None:
    async with grpc.aio.insecure_channel(closed.address) as channel:
        metadata = [("authorization", SERVICE), ("ingrain-on-behalf-of", project)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(GetModel)(MODEL, metadata=metadata, timeout=10)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_users_cannot_act_for_others(closed: Any) -> None:
    made = await closed.new_key()
    async with closed.client(made.secret, ingrain_on_behalf_of="projects/other") as client:
        assert (await client.models.get("m")).display_name == "user"
        with pytest.raises(errors.NotFound):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="projects/other/models/m"))


async def test_inbound_identity_is_stripped(platform: Any) -> None:
    forged = {
        "ingrain_caller_kind": "service",
        "ingrain_gateway_token": "forged",
        "ingrain_caller_project": "projects/x",
        "ingrain_caller_read_only": "true",
        "ingrain_anything": "else",
    }
    async with platform.client(**forged) as client:
        assert (await client.models.get("m")).display_name == "operator"
    seen = platform.trainer.metadata
    assert seen["ingrain-gateway-token"] == "gateway-token"
    assert seen["ingrain-caller-project"] == "*"
    assert seen["ingrain-caller-read-only"] == "false"
    assert "ingrain-anything" not in seen


async def test_services_answer_to_the_gateway_alone(platform: Any) -> None:
    backend = platform.gateway.proxy.channel("trainer")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await backend.unary_unary(GetModel)(MODEL, timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_another_projects_resources_do_not_exist(closed: Any) -> None:
    made = await closed.new_key()
    async with closed.client(made.secret) as client:
        with pytest.raises(errors.NotFound):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="projects/other/models/m"))
        with pytest.raises(errors.NotFound):
            await client.stubs.keys.ListKeys(projects_pb2.ListKeysRequest(parent="projects/other"))
        listed = await client.stubs.projects.ListProjects(projects_pb2.ListProjectsRequest())
    assert [project.name for project in listed.projects] == ["projects/default"]


async def test_projects_are_for_operators(closed: Any) -> None:
    made = await closed.new_key()
    create = projects_pb2.CreateProjectRequest(project_id="team-b")
    async with closed.client(made.secret) as client:
        with pytest.raises(errors.PermissionDenied):
            await client.stubs.projects.CreateProject(create)
    async with closed.client("operator-token") as client:
        assert (await client.stubs.projects.CreateProject(create)).name == "projects/team-b"
        with pytest.raises(errors.AlreadyExists):
            await client.stubs.projects.CreateProject(create)


async def test_a_deleted_projects_keys_end_with_it(closed: Any) -> None:
    async with closed.client("operator-token") as client:
        await client.stubs.projects.CreateProject(projects_pb2.CreateProjectRequest(project_id="gone"))
        made = await client.stubs.keys.CreateKey(projects_pb2.CreateKeyRequest(parent="projects/gone"))
        await client.stubs.projects.DeleteProject(projects_pb2.DeleteProjectRequest(name="projects/gone"))
    request = trainer_pb2.GetModelRequest(name="projects/gone/models/m").SerializeToString()
    status = await closed.status(GetModel, f"Bearer {made.secret}", request)
    assert status == grpc.StatusCode.UNAUTHENTICATED


async def test_the_default_project_is_always_there(platform: Any) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.WrongState):
            await client.stubs.projects.DeleteProject(
                projects_pb2.DeleteProjectRequest(name="projects/default")
            )
        found = await client.stubs.projects.GetProject(
            projects_pb2.GetProjectRequest(name="projects/default")
        )
    assert found.name == "projects/default"


async def test_secrets_are_shown_once(closed: Any) -> None:
    made = await closed.new_key(display_name="laptop")
    assert made.secret.startswith("ingrain_default.")
    async with AsyncClient(closed.address, api_key=made.secret) as client:
        listed = await client.stubs.keys.ListKeys(projects_pb2.ListKeysRequest(parent="projects/default"))
    assert [key.display_name for key in listed.keys] == ["laptop"]
    stored = b"".join(path.read_bytes() for path in closed.database_files())
    assert made.secret.rpartition(".")[2].encode() not in stored
    assert b"laptop" in stored


async def test_a_key_is_revoked_once(closed: Any) -> None:
    made = await closed.new_key()
    first = await revoke(closed, made.key.name)
    assert (await revoke(closed, made.key.name)).revoke_time == first.revoke_time
