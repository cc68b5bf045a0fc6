"""The gateway over real sockets: a backend behind it, clients before it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2, datasets_pb2_grpc, projects_pb2, trainer_pb2, trainer_pb2_grpc
from servicekit import identity
from servicekit.errors import Invalid
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.gateway import routes
from services.gateway.server import build, refuse_open_door
from services.gateway.settings import GatewaySettings

GATEWAY_TOKEN, SERVICE_TOKEN = "gateway-token", "service-token"


class Trainer(trainer_pb2_grpc.TrainerServicer):
    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.metadata: dict[str, Any] = {}

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        self.metadata = dict(context.invocation_metadata())
        identity.authorize(request.name)
        return trainer_pb2.Model(name=request.name, display_name=identity.caller().kind)

    async def ListModels(self, request: Any, context: Any) -> trainer_pb2.ListModelsResponse:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return trainer_pb2.ListModelsResponse()

    async def WatchTraining(self, request: Any, context: Any) -> AsyncIterator[trainer_pb2.TrainingSnapshot]:
        for step in range(3):
            yield trainer_pb2.TrainingSnapshot(step=step)
        raise Invalid("IN_THE_MIDDLE", "it broke at step 3", field="step", step=3)


class Datasets(datasets_pb2_grpc.DatasetsServicer):
    async def UploadDataset(self, requests: Any, context: Any) -> datasets_pb2.Dataset:
        size = 0
        async for request in requests:
            size += len(request.chunk)
        return datasets_pb2.Dataset(name="projects/default/datasets/d", size_bytes=size)


class Platform:
    def __init__(self, address: str, trainer: Trainer) -> None:
        self.address = address
        self.trainer = trainer

    def client(self, key: str = "", **metadata: str) -> AsyncClient:
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        return AsyncClient(self.address, api_key=key, metadata=pairs, timeout_s=10)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    backend = new_server(ServiceSettings(gateway_token=GATEWAY_TOKEN))
    trainer = Trainer()
    trainer_pb2_grpc.add_TrainerServicer_to_server(trainer, backend)
    datasets_pb2_grpc.add_DatasetsServicer_to_server(Datasets(), backend)
    backend_address = f"127.0.0.1:{backend.add_insecure_port('127.0.0.1:0')}"
    await backend.start()
    settings = GatewaySettings(
        database_url=f"sqlite:///{tmp_path / 'gateway.sqlite'}",
        gateway_token=GATEWAY_TOKEN,
        service_token=SERVICE_TOKEN,
        backend_trainer=backend_address,
        backend_augmenter=backend_address,
        backend_studies="127.0.0.1:9",
    )
    server, port, proxy, database = await build(settings)
    await server.start()
    yield Platform(f"127.0.0.1:{port}", trainer)
    await server.stop(0)
    await backend.stop(0)
    await proxy.close()
    await database.close()


async def test_unary_calls_pass(platform: Platform) -> None:
    async with platform.client() as client:
        assert (await client.models.get("m")).name == "projects/default/models/m"


async def test_uploads_pass(platform: Platform) -> None:
    async def messages() -> AsyncIterator[datasets_pb2.UploadDatasetRequest]:
        yield datasets_pb2.UploadDatasetRequest(
            header=datasets_pb2.UploadDatasetHeader(parent="projects/default")
        )
        for _ in range(8):
            yield datasets_pb2.UploadDatasetRequest(chunk=b"x" * (1 << 20))

    async with platform.client() as client:
        assert (await client.stubs.datasets.UploadDataset(messages())).size_bytes == 8 << 20


async def test_an_error_in_the_middle_of_a_stream_keeps_its_details(platform: Platform) -> None:
    async with platform.client() as client:
        request = trainer_pb2.WatchTrainingRequest(name="projects/default/models/m")
        steps = []
        watching = client.stubs.trainer.WatchTraining(request)
        with pytest.raises(errors.Invalid) as caught:  # noqa: PT012 - it is the iteration that raises
            async for snapshot in watching:
                steps.append(snapshot.step)
    assert steps == [0, 1, 2]
    assert caught.value.reason == "IN_THE_MIDDLE"
    assert caught.value.metadata == {"step": "3"}
    assert caught.value.field_violations[0].field == "step"


async def test_a_broken_rule_of_the_protos_names_its_field(platform: Platform) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Invalid) as caught:
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="nonsense"))
    assert caught.value.field_violations[0].field == "name"


async def test_a_message_over_the_limit_is_refused_and_the_gateway_lives(platform: Platform) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Exhausted):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="x" * ((4 << 20) + 1)))
        assert await client.models.get("m")


async def test_a_callers_end_ends_the_work(platform: Platform) -> None:
    async with platform.client() as client:
        call = asyncio.ensure_future(
            client.stubs.trainer.ListModels(trainer_pb2.ListModelsRequest(parent="projects/default"))
        )
        await asyncio.sleep(0.3)
        call.cancel()
        await asyncio.wait_for(platform.trainer.cancelled.wait(), 5)


async def test_deadlines_pass(platform: Platform) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.stubs.trainer.ListModels(
                trainer_pb2.ListModelsRequest(parent="projects/default"), timeout=0.3
            )
        await asyncio.wait_for(platform.trainer.cancelled.wait(), 5)


async def test_identity_is_set_by_the_gateway_alone(platform: Platform) -> None:
    forged = {
        "ingrain_caller_kind": "service",
        "ingrain_gateway_token": "forged",
        "ingrain_caller_project": "projects/x",
    }
    async with platform.client(**forged) as client:
        assert (await client.models.get("m")).display_name == "operator"
    assert platform.trainer.metadata["ingrain-gateway-token"] == GATEWAY_TOKEN
    assert "authorization" not in platform.trainer.metadata


async def test_services_act_for_a_project(platform: Platform) -> None:
    async with platform.client(SERVICE_TOKEN, ingrain_on_behalf_of="projects/default") as client:
        assert (await client.models.get("m")).display_name == "service"
    async with platform.client(SERVICE_TOKEN) as client:
        with pytest.raises(errors.PermissionDenied):
            await client.models.get("m")


async def test_services_answer_to_the_gateway_alone(platform: Platform, tmp_path: Path) -> None:
    backend = new_server(ServiceSettings(gateway_token=GATEWAY_TOKEN))
    trainer_pb2_grpc.add_TrainerServicer_to_server(Trainer(), backend)
    port = backend.add_insecure_port("127.0.0.1:0")
    await backend.start()
    async with AsyncClient(f"127.0.0.1:{port}", api_key="") as client:
        with pytest.raises(errors.Unauthenticated):
            await client.models.get("m")
    await backend.stop(0)


async def test_backends_that_are_away_are_said_to_be(platform: Platform) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Unavailable, match="studies") as caught:
            await client.studies.get("s")
    assert caught.value.retry_after_s


async def test_operations_go_by_their_collection(platform: Platform) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Invalid, match="collection"):
            await client.operations.get("projects/default/nothing/x/operations/1")
        with pytest.raises(errors.Unavailable, match="studies"):
            await client.operations.get("projects/default/studies/x/operations/1")


async def test_an_unknown_method_is_unimplemented(platform: Platform) -> None:
    async with grpc.aio.insecure_channel(platform.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/ingrain.v1.Trainer/Nonsense")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "Nonsense" in (caught.value.details() or "")


async def test_health_is_answered_for_each_service(platform: Platform) -> None:
    async with grpc.aio.insecure_channel(platform.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        own = await stub.Check(health_pb2.HealthCheckRequest())
        away = await stub.Check(health_pb2.HealthCheckRequest(service="ingrain.v1.Studies"))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Check(health_pb2.HealthCheckRequest(service="nonsense"))
    assert (own.status, away.status) == (1, 2)


async def test_reflection_shows_every_service(platform: Platform) -> None:
    def look() -> list[str]:
        with grpc.insecure_channel(platform.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol("ingrain.v1.Studies")
            assert file.name == "ingrain/v1/studies.proto"
            return sorted(database.get_services())

    shown = await asyncio.to_thread(look)
    assert {*routes.BACKEND_OF_SERVICE, *routes.OWN_SERVICES, routes.OPERATIONS} <= set(shown)


async def new_key(platform: Platform, **fields: Any) -> projects_pb2.CreateKeyResponse:
    async with platform.client() as client:
        key = projects_pb2.Key(**fields)
        return await client.stubs.keys.CreateKey(
            projects_pb2.CreateKeyRequest(parent="projects/default", key=key)
        )


METHODS = [
    f"/{service}/{name}" for service in routes.BACKEND_OF_SERVICE for name in routes.methods_of(service)
]
METHODS += [f"/{service}/{name}" for service in routes.OWN_SERVICES for name in routes.methods_of(service)]


@pytest.mark.parametrize("credentials", ["malformed", "unknown", "revoked", "expired", "not a bearer"])
async def test_bad_credentials_let_nobody_in_anywhere(platform: Platform, credentials: str) -> None:
    """A matrix over every method of the descriptors, so that a new one cannot be forgotten."""
    made = await new_key(platform)
    authorization = f"Bearer {made.secret}"
    if credentials == "malformed":
        authorization = "Bearer nonsense"
    elif credentials == "unknown":
        authorization = f"Bearer {made.secret[:-4]}0000"
    elif credentials == "not a bearer":
        authorization = f"Basic {made.secret}"
    elif credentials == "revoked":
        async with platform.client() as client:
            await client.stubs.keys.RevokeKey(projects_pb2.RevokeKeyRequest(name=made.key.name))
    elif credentials == "expired":
        key = projects_pb2.Key()
        key.expire_time.FromSeconds(1)
        made = await new_key(platform, expire_time=key.expire_time)
        authorization = f"Bearer {made.secret}"
    async with grpc.aio.insecure_channel(platform.address) as channel:
        for method in METHODS:
            call = channel.unary_stream(method)(
                b"", metadata=[("authorization", authorization)], timeout=10
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in call:
                    pass
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, method


async def test_read_only_keys_only_read(platform: Platform) -> None:
    made = await new_key(platform, read_only=True)
    async with platform.client(made.secret) as client:
        assert (await client.models.get("m")).display_name == "user"
    writing = [m for m in METHODS if not routes.is_read_only(m) and not m.startswith("/ingrain.v1.Projects")]
    async with grpc.aio.insecure_channel(platform.address) as channel:
        for method in writing:
            request = b"\x0a\x10projects/default" if "Keys" in method else b""
            metadata = [("authorization", f"Bearer {made.secret}")]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in channel.unary_stream(method)(request, metadata=metadata, timeout=10):
                    pass
            assert caught.value.code() in (
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.INVALID_ARGUMENT,  # Keys check the request first
            ), method


async def test_another_projects_resources_do_not_exist(platform: Platform) -> None:
    made = await new_key(platform)
    async with platform.client(made.secret) as client:
        with pytest.raises(errors.NotFound):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="projects/other/models/m"))
        with pytest.raises(errors.PermissionDenied):
            await client.stubs.projects.CreateProject(projects_pb2.CreateProjectRequest(project_id="mine"))
        listed = await client.stubs.projects.ListProjects(projects_pb2.ListProjectsRequest())
    assert [project.name for project in listed.projects] == ["projects/default"]


def test_an_open_gateway_stays_on_loopback() -> None:
    with pytest.raises(Invalid, match="INGRAIN_REQUIRE_KEYS"):
        refuse_open_door(GatewaySettings(host="0.0.0.0"))
    refuse_open_door(GatewaySettings(host="0.0.0.0", require_keys=True))
    refuse_open_door(GatewaySettings(host="0.0.0.0", allow_open="yes"))
    refuse_open_door(GatewaySettings(host="127.0.0.1"))
