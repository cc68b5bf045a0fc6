"""The parity gate over real sockets and a real table of operations: agreement, disagreement, an inference that is away."""

import asyncio

import grpc
import pytest

from ingrain.v1 import common_pb2, inference_pb2, inference_pb2_grpc, trainer_pb2
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.task import LostLease
from servicekit.worker import Worker
from services.trainer import verifying
from services.trainer.settings import TrainerSettings

NAME = "projects/p/models/m"
TOLD = {"tokens": [[5, 6, 7], [8, 9]], "logprobs": [[-1.0, -2.0], [-3.0]], "dtype": "float32"}


class Inference(inference_pb2_grpc.InferenceServicer):
    """Says what the trainer said and `difference` more for the last token."""

    def __init__(self):
        self.difference, self.dtype, self.refusal, self.away = 0.0, "float32", None, 0
        self.seen = []
        self.state = None

    async def GetEngine(self, request, context):
        if self.away:
            self.away -= 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the engine is starting")
        engine = inference_pb2.Engine()
        engine.environment.dtype = self.dtype
        return engine

    async def Generate(self, request, context):
        if self.refusal:
            await context.abort(*self.refusal)
        self.seen.append(await self.state())
        assert request.prompt_logprobs
        response = inference_pb2.GenerateResponse()
        for given, logprobs in zip(request.inputs, TOLD["logprobs"], strict=True):
            ids = given.token_ids.ids
            tokens = [inference_pb2.TokenLogprob(id=ids[0])]
            tokens += [
                inference_pb2.TokenLogprob(id=i, logprob=p) for i, p in zip(ids[1:], logprobs, strict=True)
            ]
            response.generations.add(prompt_tokens=tokens)
        response.generations[-1].prompt_tokens[-1].logprob += self.difference
        return response


class Gate:
    def __init__(self, database, rows, inference, settings):
        self.database, self.rows, self.inference, self.settings = database, rows, inference, settings
        self.operations = Operations(database, {"models": rows})

    async def run(self, told=TOLD, **changes):
        """The operation after a model with this result was verified, and the model."""
        settings = self.settings.model_copy(update=changes)

        async def handler(task, request):
            model = await self.rows.get(task.target)
            model.uri = "file:///somewhere"
            await verifying.verify(task, model, {"parity": told} if told else {}, settings)
            return model

        worker = Worker(self.operations, {"CreateModel": (trainer_pb2.CreateModelRequest, handler)}, settings)
        started = await self.operations.start(
            "CreateModel", trainer_pb2.CreateModelRequest(), trainer_pb2.Model(name=NAME)
        )
        running = asyncio.create_task(worker.run())
        try:
            ended = await self.operations.wait(started.name, 30)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return ended, await self.rows.get(NAME)


@pytest.fixture
async def gate(tmp_path, monkeypatch):
    monkeypatch.setattr(verifying, "AGAIN_S", 0.1)
    inference, server = Inference(), grpc.aio.server()
    inference_pb2_grpc.add_InferenceServicer_to_server(inference, server)
    settings = TrainerSettings(gateway=f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    await server.start()
    database = Database(f"sqlite:///{tmp_path}/trainer.db", schema="trainer")
    await database.create_all()
    rows = Resources(database, trainer_pb2.Model, "models")

    async def state():
        return (await rows.get(NAME)).state

    inference.state = state
    yield Gate(database, rows, inference, settings)
    await server.stop(None)
    await database.close()


async def test_a_model_that_agrees_is_verifying_until_it_is_active(gate):
    gate.inference.difference = 0.0009
    ended, model = await gate.run({**TOLD, "max_merged_difference": 0.0001})
    assert not ended.HasField("error")
    assert gate.inference.seen == [common_pb2.VERIFYING]
    found = model.summary.verification
    assert (model.state, found.token_count, found.tolerance) == (common_pb2.ACTIVE, 3, 1e-3)
    assert found.max_difference == pytest.approx(0.0009)
    assert found.max_merged_difference == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("difference", "told", "dtype", "agrees"),
    [
        (0.0011, {}, "float32", False),
        (float("nan"), {}, "float32", False),
        (0.05, {"dtype": "bfloat16"}, "float32", True),
        (0.05, {}, "bfloat16", True),
        (0.07, {"dtype": "bfloat16"}, "float32", False),
        (0.0, {"max_merged_difference": 0.002}, "float32", False),
        (0.0, {"max_merged_difference": float("nan")}, "float32", False),
    ],
)
async def test_what_disagrees_fails_with_its_numbers_and_keeps_its_files(
    gate, difference, told, dtype, agrees
):
    gate.inference.difference, gate.inference.dtype = difference, dtype
    ended, model = await gate.run({**TOLD, **told})
    assert ended.HasField("error") != agrees
    assert model.state == (common_pb2.ACTIVE if agrees else common_pb2.FAILED)
    assert model.uri == "file:///somewhere"
    assert model.summary.verification.token_count == 3
    if not agrees:
        assert "is not what was trained" in ended.error.message


async def test_an_inference_that_is_away_is_waited_for(gate):
    gate.inference.away = 4
    ended, model = await gate.run()
    assert not ended.HasField("error")
    assert model.state == common_pb2.ACTIVE


async def test_an_inference_that_stays_away_is_named(gate):
    gate.inference.away = 1000
    ended, _ = await gate.run(verify_wait_s=0.0, worker_concurrency=1)
    assert "INGRAIN_VERIFY_PARITY" in ended.error.message


async def test_a_refusal_is_no_agreement(gate):
    gate.inference.refusal = (grpc.StatusCode.NOT_FOUND, "the files are not in storage")
    ended, model = await gate.run()
    assert "the files are not in storage" in ended.error.message
    assert model.state == common_pb2.FAILED


async def test_without_the_gate_nobody_is_asked(gate):
    ended, model = await gate.run(verify_parity=False)
    assert (ended.HasField("error"), model.state, gate.inference.seen) == (False, common_pb2.ACTIVE, [])
    assert not model.summary.HasField("verification")


async def test_who_lost_the_fence_shows_nothing(gate):
    started = await gate.operations.start(
        "CreateModel", trainer_pb2.CreateModelRequest(), trainer_pb2.Model(name=NAME)
    )
    row = await gate.database.run(lambda c: gate.operations.row_in(c, started.name))
    from servicekit.task import Task

    ghost = Task(gate.operations, row)
    with pytest.raises(LostLease):
        await ghost.show(trainer_pb2.Model(name=NAME, state=common_pb2.VERIFYING))
    assert (await gate.rows.get(NAME)).state == common_pb2.CREATING
