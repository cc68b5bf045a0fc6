"""What passes the gateway and how: unary calls, streams, details of errors, deadlines, cancellation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ingrain import errors
from ingrain.v1 import datasets_pb2, trainer_pb2

MODEL = "projects/default/models/m"


async def upload_messages(
    dataset_id: str, mebibytes: int, then_wait: bool = False
) -> AsyncIterator[datasets_pb2.UploadDatasetRequest]:
    header = datasets_pb2.UploadDatasetHeader(parent="projects/default", dataset_id=dataset_id)
    yield datasets_pb2.UploadDatasetRequest(header=header)
    for _ in range(mebibytes):
        yield datasets_pb2.UploadDatasetRequest(chunk=b"x" * (1 << 20))
    if then_wait:
        await asyncio.sleep(30)


async def test_unary_calls_pass(platform: Any) -> None:
    async with platform.client() as client:
        assert (await client.models.get("m")).name == MODEL


async def test_metadata_passes_but_for_what_is_the_gateways(platform: Any) -> None:
    async with platform.client(traceparent="00-ab-cd-01", tenant_note="kept") as client:
        await client.models.get("m")
    seen = platform.trainer.metadata
    assert (seen["traceparent"], seen["tenant-note"]) == ("00-ab-cd-01", "kept")
    assert "authorization" not in seen


async def test_request_ids_pass_and_are_made_up_where_missing(platform: Any) -> None:
    async with platform.client(x_request_id="mine") as client:
        await client.models.get("m")
    assert platform.trainer.metadata["x-request-id"] == "mine"
    request = trainer_pb2.GetModelRequest(name=MODEL).SerializeToString()
    assert await platform.status("/ingrain.v1.Trainer/GetModel", request=request) == grpc.StatusCode.OK
    assert len(platform.trainer.metadata["x-request-id"]) == 32


async def test_uploads_pass(platform: Any) -> None:
    async with platform.client() as client:
        assert (await client.stubs.datasets.UploadDataset(upload_messages("good", 8))).size_bytes == 8 << 20


async def test_an_upload_that_is_refused_half_way_says_why(platform: Any) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Invalid) as caught:
            await client.stubs.datasets.UploadDataset(upload_messages("refused", 8))
    assert caught.value.field_violations[0].field == "rows[6]"


async def test_an_upload_that_is_given_up_ends_at_the_backend(platform: Any) -> None:
    async with platform.client() as client:
        call = asyncio.ensure_future(client.stubs.datasets.UploadDataset(upload_messages("good", 2, True)))
        await asyncio.wait_for(platform.datasets.at_work.wait(), 10)
        call.cancel()
        await asyncio.wait_for(platform.datasets.cancelled.wait(), 5)
    assert not platform.datasets.committed


async def test_a_slow_reader_slows_the_writer(platform: Any) -> None:
    """Nobody on the way gathers what is not yet wanted; who stops reading ends the work."""
    async with platform.client() as client:
        request = datasets_pb2.ReadRowsRequest(name="projects/default/datasets/d")
        reading = client.stubs.datasets.ReadRows(request)
        await anext(aiter(reading))
        # How much lies in the sockets on the way is the system's to choose; that it comes to a standstill is ours.
        async with asyncio.timeout(20):
            sent = 0
            while platform.datasets.sent != sent:
                sent = platform.datasets.sent
                await asyncio.sleep(0.5)
        reading.cancel()
        await asyncio.wait_for(platform.datasets.cancelled.wait(), 5)


async def test_an_error_in_the_middle_of_a_stream_keeps_its_details(platform: Any) -> None:
    async with platform.client() as client:
        steps = []
        watching = client.stubs.trainer.WatchTraining(trainer_pb2.WatchTrainingRequest(name=MODEL))
        with pytest.raises(errors.Invalid) as caught:  # noqa: PT012 - it is the iteration that raises
            async for snapshot in watching:
                steps.append(snapshot.step)
    assert steps == [0, 1, 2]
    assert caught.value.reason == "IN_THE_MIDDLE"
    assert caught.value.metadata == {"step": "3"}
    assert caught.value.field_violations[0].field == "step"


async def test_a_broken_rule_of_the_protos_names_its_field(platform: Any) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Invalid) as caught:
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="nonsense"))
    assert caught.value.field_violations[0].field == "name"


async def test_a_message_over_the_limit_is_refused_and_the_gateway_lives(platform: Any) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Exhausted):
            await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name="x" * ((4 << 20) + 1)))
        assert await client.models.get("m")


async def test_a_callers_end_ends_the_work(platform: Any) -> None:
    async with platform.client() as client:
        request = trainer_pb2.ListModelsRequest(parent="projects/default")
        call = asyncio.ensure_future(client.stubs.trainer.ListModels(request))
        await asyncio.wait_for(platform.trainer.at_work.wait(), 10)
        call.cancel()
        await asyncio.wait_for(platform.trainer.cancelled.wait(), 5)


async def test_the_backend_sees_the_callers_deadline(platform: Any) -> None:
    async with platform.client() as client:
        await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=MODEL), timeout=7)
    assert 5 < platform.trainer.time_remaining < 7


async def test_a_deadline_that_passes_ends_the_work(platform: Any) -> None:
    async with platform.client() as client:
        request = trainer_pb2.ListModelsRequest(parent="projects/default")
        with pytest.raises(errors.DeadlineExceeded):
            await client.stubs.trainer.ListModels(request, timeout=0.3)
        await asyncio.wait_for(platform.trainer.cancelled.wait(), 5)


async def test_backends_that_are_away_are_said_to_be(platform: Any) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Unavailable, match="studies") as caught:
            await client.studies.get("s")
    assert caught.value.retry_after_s


async def test_operations_go_by_their_collection(platform: Any) -> None:
    async with platform.client() as client:
        with pytest.raises(errors.Invalid, match="collection"):
            await client.operations.get("projects/default/nothing/x/operations/1")
        with pytest.raises(errors.Unavailable, match="studies"):
            await client.operations.get("projects/default/studies/x/operations/1")


@pytest.mark.parametrize("verb", ["Get", "List", "Wait", "Cancel", "Delete"])
async def test_each_method_of_operations_is_routed(platform: Any, verb: str) -> None:
    method = f"/google.longrunning.Operations/{verb}Operation{'s' if verb == 'List' else ''}"
    # All five requests hold the name in field 1, but ListOperations, where it is field 4.
    to_models = (
        operations_pb2.ListOperationsRequest(name="projects/default/models")
        if verb == "List"
        else operations_pb2.GetOperationRequest(name=f"{MODEL}/operations/1")
    )
    # The backend has no Operations: it says so, and not the gateway.
    assert (
        await platform.status(method, request=to_models.SerializeToString()) == grpc.StatusCode.UNIMPLEMENTED
    )
    assert await platform.status(method, request=b"") == grpc.StatusCode.INVALID_ARGUMENT
    assert await platform.status(method, request=b"\xff\xff") == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "method", ["/ingrain.v1.Trainer/Nonsense", "/ingrain.v1.Projects/Nonsense", "/no.Such/Method", "/nothing"]
)
async def test_an_unknown_method_is_named(platform: Any, method: str) -> None:
    async with grpc.aio.insecure_channel(platform.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method)(b"", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert method in (caught.value.details() or "")
    details = [detail.TypeName() for detail in rpc_status.from_call(caught.value).details]
    assert error_details_pb2.ErrorInfo.DESCRIPTOR.full_name in details


async def test_too_many_calls_are_told_when_to_come_back(start: Any) -> None:
    async with start(project_concurrency=1, queue_length=1, queue_s=0.3) as platform:
        method = "/ingrain.v1.Trainer/ListModels"
        async with grpc.aio.insecure_channel(platform.address) as channel:
            request = trainer_pb2.ListModelsRequest(parent="projects/default").SerializeToString()
            first = channel.unary_unary(method)(request, timeout=10)
            await asyncio.wait_for(platform.trainer.at_work.wait(), 10)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(request, timeout=10)
            first.cancel()
        async with platform.client() as client:
            assert await client.models.get("m")  # the place is free again
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    details = [detail.TypeName() for detail in rpc_status.from_call(caught.value).details]
    assert error_details_pb2.RetryInfo.DESCRIPTOR.full_name in details
