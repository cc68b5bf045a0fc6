"""What travels with every call, and what is tried again: seen from a server."""

import asyncio
import time
import uuid
from concurrent import futures

import grpc
import pytest

from ingrain import TLS, AsyncClient, errors
from ingrain.channel import SERVICE_CONFIG
from ingrain.v1 import (
    augmenter_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
    evaluator_pb2,
    inference_pb2,
    inference_pb2_grpc,
    studies_pb2,
    trainer_pb2,
    trainer_pb2_grpc,
)


class Recorder(datasets_pb2_grpc.DatasetsServicer, trainer_pb2_grpc.TrainerServicer):
    """Notes what arrives; is unavailable as often as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict, float]] = []
        self.requests: list = []
        self.refusals = 0

    def _note(self, request, context) -> None:
        self.calls.append((dict(context.invocation_metadata()), context.time_remaining()))
        self.requests.append(request)
        if self.refusals:
            self.refusals -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    def GetDataset(self, request, context):
        self._note(request, context)
        if request.name.endswith("/slow"):
            time.sleep(1)
        return datasets_pb2.Dataset(name=request.name)

    def ImportModel(self, request, context):
        from google.longrunning import operations_pb2

        self._note(request, context)
        return operations_pb2.Operation(name="o")

    def UploadDataset(self, requests, context):
        header = next(requests).header
        self._note(header, context)
        size = sum(len(request.chunk) for request in requests)
        return datasets_pb2.Dataset(name="d", size_bytes=size)

    def ReadRows(self, request, context):
        self._note(request, context)
        if request.name.endswith("/slow"):
            time.sleep(1)
        for row in range(request.start_row, 4):
            yield datasets_pb2.ReadRowsResponse(rows=[f'{{"n": {row}}}'], start_row=row)
            if row == 1 and request.start_row == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")


@pytest.fixture
def recorder():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = Recorder()
    datasets_pb2_grpc.add_DatasetsServicer_to_server(servicer, server)
    trainer_pb2_grpc.add_TrainerServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(0).wait()


async def test_credentials_request_id_and_deadline(recorder: Recorder) -> None:
    extra = [("ingrain-on-behalf-of", "projects/p")]
    async with AsyncClient(recorder.target, api_key="k", metadata=extra, timeout_s=7) as client:
        await client.datasets.get("d")
        await client.stubs.datasets.GetDataset(
            datasets_pb2.GetDatasetRequest(), metadata=[("x-request-id", "mine")], timeout=3
        )
    (first, first_s), (second, second_s) = recorder.calls
    assert first["authorization"] == "Bearer k"
    assert first["ingrain-on-behalf-of"] == "projects/p"
    assert uuid.UUID(first["x-request-id"])
    assert 3 < first_s < 7.5
    assert second["x-request-id"] == "mine"
    assert second_s < 3.5


async def test_unavailable_is_tried_again_with_the_same_request_id(recorder: Recorder) -> None:
    recorder.refusals = 2
    async with AsyncClient(recorder.target) as client:
        await client.models.import_("org/m")
    assert len(recorder.requests) == 3
    assert len({request.request_id for request in recorder.requests}) == 1
    assert uuid.UUID(recorder.requests[0].request_id)


async def test_given_request_id_is_kept_and_the_request_unchanged(recorder: Recorder) -> None:
    async with AsyncClient(recorder.target) as client:
        mine = trainer_pb2.ImportModelRequest(request_id="mine")
        empty = trainer_pb2.ImportModelRequest()
        await client.stubs.trainer.ImportModel(mine)
        await client.stubs.trainer.ImportModel(empty)
    assert recorder.requests[0].request_id == "mine"
    assert empty.request_id == ""


async def test_retries_are_few(recorder: Recorder) -> None:
    recorder.refusals = 100
    async with AsyncClient(recorder.target) as client:
        with pytest.raises(errors.Unavailable, match="restarting"):
            await client.datasets.get("d")
    assert len(recorder.requests) <= 4


async def test_upload_is_sent_again_whole(recorder: Recorder) -> None:
    # gRPC keeps 256 KiB for its own retries; the SDK starts a longer upload anew, with the same request id.
    recorder.refusals = 3
    rows = [{"text": "x" * 1000} for _ in range(3000)]
    async with AsyncClient(recorder.target) as client:
        dataset = await client.datasets.upload(rows)
    assert dataset.size_bytes > 3_000_000
    assert len({header.request_id for header in recorder.requests}) == 1


async def test_reading_goes_on_where_it_broke(recorder: Recorder) -> None:
    async with AsyncClient(recorder.target) as client:
        assert [row["n"] async for row in client.datasets.rows("d")] == [0, 1, 2, 3]
    assert [request.start_row for request in recorder.requests] == [0, 2]


async def test_deadline(recorder: Recorder) -> None:
    async with AsyncClient(recorder.target, timeout_s=0.2) as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.datasets.get("slow")


async def test_nobody_there() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1.*ingrain up"):
            await asyncio.wait_for(client.datasets.get("d"), 10)


async def test_abandoned_stream_is_cancelled() -> None:
    ended = asyncio.Event()

    class Talker(inference_pb2_grpc.InferenceServicer):
        async def StreamGenerate(self, request, context):
            context.add_done_callback(lambda _: ended.set())
            while True:
                yield inference_pb2.StreamGenerateResponse(text="word ")
                await asyncio.sleep(0.01)

    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServicer_to_server(Talker(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        stream = client.stream("m", "talk")
        assert (await stream.__anext__()).text == "word "
        stream.cancel()
        await asyncio.wait_for(ended.wait(), 5)
    await server.stop(0)


def test_tls_needs_readable_files(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        AsyncClient("x:1", tls=TLS(ca=tmp_path / "none.pem"))


class Refuser(datasets_pb2_grpc.DatasetsServicer):
    """Refuses an upload after a few of its messages, while more are on their way."""

    async def UploadDataset(self, requests, context):
        read = 0
        async for _ in requests:
            read += 1
            if read == 3:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "rows[7].answer is no choice")
        return datasets_pb2.Dataset(row_count=read)


@pytest.fixture
async def refuser():
    server = grpc.aio.server()
    datasets_pb2_grpc.add_DatasetsServicer_to_server(Refuser(), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield target
    await server.stop(0)


async def test_upload_refused_half_way_tells_why_every_time(refuser: str) -> None:
    chunk = datasets_pb2.UploadDatasetRequest(chunk=b"x" * 200_000)
    async with AsyncClient(refuser) as client:
        for _ in range(40):
            with pytest.raises(errors.Invalid, match="no choice"):
                await client.stubs.datasets.UploadDataset(chunk for _ in range(20))


async def test_messages_may_come_from_the_loop(refuser: str) -> None:
    async def messages(count: int):
        for _ in range(count):
            await asyncio.sleep(0.01)
            yield datasets_pb2.UploadDatasetRequest(chunk=b"x")

    async def broken():
        yield datasets_pb2.UploadDatasetRequest(chunk=b"x")
        raise KeyError("no such row")

    async def endless():
        yield datasets_pb2.UploadDatasetRequest(chunk=b"x")
        await asyncio.Event().wait()

    async with AsyncClient(refuser) as client:
        assert (await client.stubs.datasets.UploadDataset(messages(2))).row_count == 2
        with pytest.raises(errors.Invalid):
            await client.stubs.datasets.UploadDataset(messages(100))
        with pytest.raises(KeyError, match="no such row"):
            await client.stubs.datasets.UploadDataset(broken())
        with pytest.raises(errors.DeadlineExceeded):
            await client.stubs.datasets.UploadDataset(endless(), timeout=0.2)
        waiting = asyncio.create_task(client.stubs.datasets.UploadDataset(endless()))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_client_that_is_closed_ends_what_waits_with_an_error(recorder: Recorder) -> None:
    async with AsyncClient(recorder.target) as client:
        rows = client.stubs.datasets.ReadRows(datasets_pb2.ReadRowsRequest(name="d/slow"))
        waiting = [asyncio.create_task(client.datasets.get("slow")), asyncio.create_task(anext(rows))]
        await asyncio.sleep(0.3)
    for task in waiting:
        with pytest.raises(errors.Cancelled, match="client was closed"):
            await task


async def test_who_cancels_is_told_so_as_ever(recorder: Recorder) -> None:
    async with AsyncClient(recorder.target) as client:
        rows = client.stubs.datasets.ReadRows(datasets_pb2.ReadRowsRequest(name="d/slow"))
        reading = asyncio.create_task(anext(rows))
        waiting = asyncio.create_task(client.datasets.get("slow"))
        await asyncio.sleep(0.3)
        rows.cancel()
        waiting.cancel()
        for task in (reading, waiting):
            with pytest.raises(asyncio.CancelledError):
                await task


def test_uploads_and_new_keys_have_no_retry_policy() -> None:
    """A new client-streaming method must be named in the service config too; with retries gRPC aborts there."""
    files = (augmenter_pb2, datasets_pb2, evaluator_pb2, inference_pb2, studies_pb2, trainer_pb2)
    streaming = {
        (service.full_name, method.name)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.client_streaming
    }
    once, _ = SERVICE_CONFIG["methodConfig"]
    assert {(name["service"], name["method"]) for name in once["name"]} == streaming | {
        ("ingrain.v1.Keys", "CreateKey")
    }
    assert "retryPolicy" not in once
